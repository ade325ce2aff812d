//! What Redis does for us in one step. Each script is loaded when Redis does not know it, and from then on named by its
//! hash; all have `prelude.lua` in front.

use redis::Script;

pub(super) struct Scripts {
    pub join: Script,
    pub renew: Script,
    pub leave: Script,
    pub sweep: Script,
    pub dead: Script,
    pub bury: Script,
    pub add: Script,
    pub remove: Script,
    pub watch: Script,
    pub draw: Script,
    pub agree: Script,
}

/// What only keeps or frees memory goes on where Redis has none left; what adds is refused before it has done a part.
enum Memory {
    Adds,
    Frees,
}

impl Scripts {
    pub fn new() -> Self {
        use Memory::{Adds, Frees};
        Self {
            join: script(Adds, include_str!("scripts/join.lua")),
            renew: script(Frees, include_str!("scripts/renew.lua")),
            leave: script(Frees, include_str!("scripts/leave.lua")),
            sweep: script(Frees, include_str!("scripts/sweep.lua")),
            dead: script(Frees, include_str!("scripts/dead.lua")),
            bury: script(Frees, include_str!("scripts/bury.lua")),
            add: script(Adds, include_str!("scripts/add.lua")),
            remove: script(Frees, include_str!("scripts/remove.lua")),
            watch: script(Adds, include_str!("scripts/watch.lua")),
            draw: script(Adds, include_str!("scripts/draw.lua")),
            agree: script(Adds, include_str!("scripts/agree.lua")),
        }
    }
}

fn script(memory: Memory, body: &str) -> Script {
    let flags = match memory {
        Memory::Adds => "",
        Memory::Frees => " flags=allow-oom",
    };
    Script::new(&format!("#!lua{flags}\n{}{body}", include_str!("scripts/prelude.lua")))
}
