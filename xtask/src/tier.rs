//! The tiers of tests: what each needs, and what cargo runs for it.

use crate::tools::Tool;

/// A tier. A new one is a row of [`TIERS`].
#[derive(Debug)]
pub(crate) struct Tier {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// Whether it needs root, with what is built and installed for it.
    pub(crate) containers: Option<&'static [Tool]>,
    /// Whether it needs a Kubernetes node.
    pub(crate) on_a_node: bool,
    /// The arguments of each `cargo test`.
    pub(crate) runs: &'static [&'static [&'static str]],
}

/// All tiers, the cheapest first.
pub(crate) const TIERS: &[Tier] = &[
    // Pure logic, and what the documentation shows.
    Tier {
        name: "unit",
        containers: None,
        on_a_node: false,
        runs: &[&["--workspace", "--lib", "--bins", "--examples"], &["--workspace", "--doc"]],
    },
    // Real notifications, without privilege.
    Tier {
        name: "kernel",
        containers: None,
        on_a_node: false,
        runs: &[&[
            "--workspace",
            "--exclude=seccomp-agent",
            "--exclude=seccomp-agent-handlers",
            "--exclude=seccomp-agent-kuberesolver",
            "--exclude=seccomp-agent-nsenter",
            "--exclude=seccomp-agent-tests",
            "--test=*",
        ]],
    },
    // An API server that fails, without a cluster.
    Tier {
        name: "kubefake",
        containers: None,
        on_a_node: false,
        runs: &[&["--package=seccomp-agent-kuberesolver", "--test=kubefake"]],
    },
    // Acting as somebody else, which takes root, and containers under runtimes and engines.
    Tier {
        name: "runtime",
        containers: Some(&[
            Tool::Runc,
            Tool::Crun,
            Tool::Podman,
            Tool::Docker,
            Tool::Busybox,
            Tool::E2fsprogs,
            Tool::Mount,
            Tool::Bindfs,
            Tool::Nginx,
            Tool::Redis,
            Tool::Sqlite,
            Tool::Python,
            Tool::Compiler,
        ]),
        on_a_node: false,
        runs: &[
            &["--package=seccomp-agent", "--test=*"],
            &["--package=seccomp-agent-handlers", "--package=seccomp-agent-nsenter", "--test=*"],
            &["--package=seccomp-agent-tests", "--test=runtime"],
        ],
    },
    // Pods, as Kubernetes has containerd run them.
    Tier {
        name: "cri",
        containers: Some(&[Tool::Runc, Tool::Containerd, Tool::Busybox]),
        on_a_node: false,
        runs: &[&["--package=seccomp-agent-tests", "--test=cri"]],
    },
    // Pods of a cluster, with the agent deployed in it. Its tests wait more than they work.
    Tier {
        name: "cluster",
        containers: Some(&[
            Tool::Runc,
            Tool::Crun,
            Tool::Busybox,
            Tool::Nginx,
            Tool::Python,
            Tool::Compiler,
            Tool::Libseccomp,
            Tool::PkgConfig,
            Tool::Openssl,
            Tool::Iproute,
            Tool::Iptables,
        ]),
        on_a_node: true,
        runs: &[&["--package=seccomp-agent-tests", "--test=cluster", "--", "--test-threads=8"]],
    },
];
