use std::ffi::OsString;
use std::fmt::Write;
use std::time::Instant;

use anyhow::ensure;
use seccomp_agent_launcher::{Container, Ended};
use tempfile::TempDir;

use super::Workload;

/// The C compiler, which compiles some files and links them: a dozen processes, and headers to read.
pub(super) struct Compiler {
    place: TempDir,
}

const FILES: usize = 3;

/// In each file.
const FUNCTIONS: usize = 30;

impl Compiler {
    pub(super) fn new() -> anyhow::Result<Self> {
        let place = tempfile::tempdir()?;
        for file in 0..FILES {
            let headers = ["ctype", "errno", "math", "signal", "stdio", "stdlib", "string", "time", "unistd"];
            let mut text = headers.map(|header| format!("#include <{header}.h>\n")).concat();
            for function in 0..FUNCTIONS {
                writeln!(
                    text,
                    "int f{file}_{function}(int x) {{ char s[64]; snprintf(s, sizeof s, \"%d\", x * {function}); \
                    return strlen(s) + atoi(s); }}"
                )?;
            }
            if file == 0 {
                text.push_str("int main(void) { return f0_0(1) != 1; }\n");
            }
            std::fs::write(place.path().join(format!("{file}.c")), text)?;
        }
        Ok(Self { place })
    }
}

impl Workload for Compiler {
    fn command(&self) -> Vec<OsString> {
        let files = (0..FILES).map(|file| self.place.path().join(format!("{file}.c")).into());
        let program = self.place.path().join("program").into();
        [OsString::from("cc"), "-O1".into(), "-o".into(), program].into_iter().chain(files).collect()
    }

    /// From the start to the end.
    fn work(&self, start: &dyn Fn() -> anyhow::Result<Container>) -> anyhow::Result<f64> {
        let begin = Instant::now();
        let ended = start()?.wait()?;
        let took = begin.elapsed().as_secs_f64() * 1e3;
        ensure!(
            ended == Ended::Exited(0) && self.place.path().join("program").exists(),
            "cc ended with {ended:?}"
        );
        Ok(took)
    }
}
