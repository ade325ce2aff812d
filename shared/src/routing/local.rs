//! routing/local
