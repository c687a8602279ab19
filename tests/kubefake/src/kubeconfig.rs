use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;

/// The text of a kubeconfig for a server at `address`: over TLS where there is a file with an authority to trust.
pub fn kubeconfig(address: SocketAddr, authority: Option<&Path>) -> String {
    let cluster = match authority {
        Some(path) => json!({"server": format!("https://{address}"), "certificate-authority": path}),
        None => json!({"server": format!("http://{address}")}),
    };
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "fake", "cluster": cluster}],
        "users": [{"name": "agent", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "fake", "user": "agent"}}],
        "current-context": "test",
    });
    config.to_string()
}
