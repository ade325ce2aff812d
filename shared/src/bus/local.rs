//! bus/local
