//! The pods of `deploy/examples`: a server that is recorded, one whose profile is too strict, and one whose profile is
//! not. Their image is made of the distribution's nginx.

use seccomp_agent_tests::run_for;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::agent;
use crate::cluster::{Cluster, DEADLINE, in_peace, soon};
use crate::pod::Pod;

/// As the image that everybody has configures it.
const CONFIGURATION: &str = "
    user nobody nogroup;
    worker_processes auto;
    pid /run/nginx.pid;
    error_log stderr notice;
    events { worker_connections 64; }
    http {
        access_log off;
        sendfile on;
        server { listen 80; root /usr/share/nginx/html; }
    }
";

/// Larger than what nginx copies, so that sendfile(2) sends it.
const PAGE: &str = "<h1>Welcome</h1>\n";
const LINES: usize = 10_000;

/// The pod of an example, once there is its image.
fn example(cluster: &Cluster, name: &str) -> Pod {
    static IMPORTED: OnceLock<()> = OnceLock::new();
    IMPORTED.get_or_init(|| import(cluster));
    Pod::example(cluster, name)
}

fn import(cluster: &Cluster) {
    let root = cluster.bed().subdirectory("nginx.").unwrap();
    let nginx = Path::new("/usr/sbin/nginx");
    for file in libraries(nginx).iter().map(|path| &**path).chain([nginx]) {
        pack(&root, file, file.strip_prefix("/").unwrap());
    }
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("etc/nginx/nginx.conf", CONFIGURATION);
    write("etc/passwd", "root:x:0:0::/:\nnobody:x:65534:65534::/:\n");
    write("etc/group", "root:x:0:\nnogroup:x:65534:\n");
    write("usr/share/nginx/html/index.html", &PAGE.repeat(LINES));
    for folder in ["run", "var/lib/nginx", "var/log/nginx"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    let command = ["--", "/usr/sbin/nginx", "-g", "daemon off;"];
    cluster.import("docker.io/library/nginx:latest", &root, &command);
}

/// The shared libraries of a program, and its loader.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let said = run_for(DEADLINE, Command::new("ldd").arg(program)).unwrap();
    // NAME => PATH (ADDRESS), or PATH (ADDRESS)
    let words =
        said.stdout.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    words.map(PathBuf::from).collect()
}

/// Copies a file into a root filesystem, without what only a debugger reads.
fn pack(root: &Path, file: &Path, at: &Path) {
    let at = root.join(at);
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    let stripped = run_for(DEADLINE, Command::new("strip").arg("-o").arg(&at).arg(file)).unwrap();
    if !stripped.success() {
        std::fs::copy(file, &at).unwrap();
    }
}

/// Whether the pod's server sends its page, within a while.
#[track_caller]
fn serves(cluster: &Cluster, pod: &Pod) {
    let address = format!("http://{}/", pod.status(cluster)["podIP"].as_str().unwrap());
    let answers = || {
        let page = cluster.enter(&["busybox", "wget", "-q", "-O", "-", &address]);
        page.stdout.len() == PAGE.len() * LINES
    };
    assert!(soon(answers), "{}", pod.log(cluster));
}

#[test]
fn what_a_server_does_while_it_serves_is_recorded() {
    let (_peace, cluster) = in_peace();
    let pod = example(cluster, "audit.yaml");
    pod.run(cluster);
    serves(cluster, &pod);
    let is_known = || {
        let shown = agent::run(cluster, &["recordings", "show", "nginx", "--output", "json"]);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        let calls: Vec<_> =
            shown["calls"].as_array().unwrap().iter().map(|call| call["call"].clone()).collect();
        ["bind", "listen", "accept4", "sendfile", "epoll_wait"]
            .iter()
            .all(|call| calls.contains(&(*call).into()))
    };
    assert!(soon(is_known));
}

#[test]
fn a_server_whose_profile_is_too_strict_ends_again_and_again_and_the_agent_says_why() {
    let (_peace, cluster) = in_peace();
    let pod = example(cluster, "violation.yaml");
    pod.start(cluster);
    let mut status = Value::Null;
    let is_hopeless = || {
        status = pod.status(cluster);
        status["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    };
    assert!(soon(is_hopeless), "{status}");
    let is_named = agent::says(cluster, |line| {
        line["recording"] == "violation"
            && line["syscall"] == "bind"
            && line["decision"] == "violation refused"
    });
    assert!(is_named, "{:?}", agent::log(cluster));
}

#[test]
fn a_server_whose_profile_is_of_its_recording_serves() {
    let (_peace, cluster) = in_peace();
    let pod = example(cluster, "fine-grained.yaml");
    pod.run(cluster);
    serves(cluster, &pod);
    assert_eq!(pod.status(cluster)["containerStatuses"][0]["restartCount"], 0);
}
