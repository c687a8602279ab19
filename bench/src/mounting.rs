//! Mounts that are made for a container, which takes more than the other calls: a file system is made, in the
//! namespaces of the caller, and what covers parts of the container's covers them in it.

use crate::Effort;
use crate::caller::Options;
use crate::deed::Deed;
use crate::emulated::{answered_by, native, served};
use crate::floor;
use crate::report::{Bound, Report, median};

/// What is measured, and held to.
pub const DEEDS: [Deed; 3] = [Deed::Mount, Deed::MountCovered, Deed::Umount];

/// The most that a mount may take, as a multiple of the loop that continues every call: a guard, above the 26 to 35 that
/// were measured. The goal is 15, and is not reached: some 75 system calls are made for a mount, among them three ways
/// to the caller's namespaces or credentials and back.
const BOUND: f64 = 45.0;

/// How much fewer calls than cheaper ones are measured.
pub const FEWER: u32 = 20;

pub fn measure(effort: Effort, report: &mut Report) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        report.heading("mounts: NOT MEASURED, they take root");
        return Ok(());
    }
    report
        .heading(&format!("one procfs of an unprivileged container (median of {}, in turns)", effort.rounds));
    let mut floors = Vec::new();
    let mut seen = DEEDS.map(|_| (Vec::new(), Vec::new()));
    for _ in 0..effort.rounds {
        floors.push(answered_by(Options::back_to_back(effort.calls, 1), floor::answer)?);
        for (deed, (natives, emulated)) in DEEDS.into_iter().zip(&mut seen) {
            let options = Options { deed, ..Options::back_to_back(effort.calls / FEWER, 1) };
            natives.push(native(options)?);
            emulated.push(served(&[options])?.0);
        }
    }
    let floor = median(floors);
    report.add("mounting", "RECV/SEND loop, SYNC_WAKE_UP", floor, "us", Bound::None);
    for (deed, (natives, emulated)) in DEEDS.into_iter().zip(seen) {
        let name = match deed {
            Deed::MountCovered => "mount, entries covered",
            deed => deed.name(),
        };
        report.add("mounting", &format!("{name}: native"), median(natives), "us", Bound::Beside { floor });
        let bound = match deed {
            Deed::Mount => Bound::AtMost { floor, times: BOUND },
            _ => Bound::Beside { floor },
        };
        report.add("mounting", &format!("{name}: emulated"), median(emulated), "us", bound);
    }
    Ok(())
}
