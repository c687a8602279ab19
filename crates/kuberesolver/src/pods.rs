use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seccomp_agent_registry::Pod;
use tokio::sync::watch;

use crate::identity::Identity;

/// The pods of a node, as far as they are known. Clones are of the same pods.
#[derive(Clone, Debug)]
pub struct Pods {
    table: Arc<Mutex<Table>>,
    /// Counts changes, for those who wait for one.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Table {
    by_uid: HashMap<String, Arc<Pod>>,
    by_name: HashMap<(String, String), Arc<Pod>>,
    /// What is being listed anew, until the list is whole.
    listed: Option<Vec<Pod>>,
}

/// How many pods are kept. The kubelet runs 110 by default, and some thousand pods are the most that anybody has
/// had on a node.
const MAX_PODS: usize = 10_000;

impl Pods {
    /// The pod that this identity means, if it is known.
    pub fn find(&self, identity: &Identity) -> Option<Arc<Pod>> {
        let table = self.table();
        // A pod of that name, but with another UID, is an earlier or a later one.
        let found = match &identity.pod_uid {
            Some(uid) => table.by_uid.get(uid),
            None => table.by_name.get(&(identity.namespace.clone()?, identity.pod.clone()?)),
        };
        found.cloned()
    }

    /// Waits until the pod that this identity means is known. For ever, if it never is: whoever asks has a deadline.
    pub async fn wait_for(&self, identity: &Identity) -> Arc<Pod> {
        let mut changes = self.changes.subscribe();
        loop {
            changes.borrow_and_update();
            if let Some(pod) = self.find(identity) {
                return pod;
            }
            // The sender is ours, and lives as long as we do.
            let _changed = changes.changed().await;
        }
    }

    /// How many pods are known.
    pub fn len(&self) -> usize {
        self.table().by_uid.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A pod is there, or has changed.
    pub(crate) fn put(&self, pod: Pod) {
        self.table().put(pod);
        self.changed();
    }

    /// A pod is gone.
    pub(crate) fn remove(&self, pod: &Pod) {
        self.table().remove(pod);
    }

    /// All pods will be listed anew; those that are known stay until they are.
    pub(crate) fn begin_list(&self) {
        self.table().listed = Some(Vec::new());
    }

    /// One of them.
    pub(crate) fn list(&self, pod: Pod) {
        // It is there, whatever the rest of the list says.
        self.put(pod.clone());
        if let Some(listed) = self.table().listed.as_mut().filter(|listed| listed.len() < MAX_PODS) {
            listed.push(pod);
        }
    }

    /// Those were all.
    pub(crate) fn end_list(&self) {
        let mut table = self.table();
        if let Some(listed) = table.listed.take() {
            table.by_uid.clear();
            table.by_name.clear();
            for pod in listed {
                table.put(pod);
            }
        }
        drop(table);
        self.changed();
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Pods {
    fn default() -> Self {
        Self { table: Arc::default(), changes: watch::Sender::new(0) }
    }
}

impl Table {
    fn put(&mut self, pod: Pod) {
        if self.by_uid.len() >= MAX_PODS && !self.by_uid.contains_key(&pod.uid) {
            tracing::warn!(
                namespace = pod.namespace,
                pod = pod.name,
                "one pod too many for a node is not kept"
            );
            return;
        }
        let taken = self.by_uid.get(&pod.uid);
        if taken.is_some_and(|other| (&other.namespace, &other.name) != (&pod.namespace, &pod.name)) {
            tracing::warn!(
                namespace = pod.namespace,
                pod = pod.name,
                "a pod with the UID of another is not kept"
            );
            return;
        }
        let pod = Arc::new(pod);
        self.by_name.insert((pod.namespace.clone(), pod.name.clone()), Arc::clone(&pod));
        self.by_uid.insert(pod.uid.clone(), pod);
    }

    fn remove(&mut self, pod: &Pod) {
        let name = (pod.namespace.clone(), pod.name.clone());
        let is_it = |known: &Arc<Pod>| (&known.namespace, &known.name) == (&pod.namespace, &pod.name);
        if self.by_uid.get(&pod.uid).is_some_and(is_it) {
            self.by_uid.remove(&pod.uid);
        }
        // A new one may have its name already.
        if self.by_name.get(&name).is_some_and(|known| known.uid == pod.uid) {
            self.by_name.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, uid: &str) -> Pod {
        let mut pod = Pod::default();
        (pod.namespace, pod.name, pod.uid) = ("shop".into(), name.into(), uid.into());
        pod
    }

    fn identity(name: &str, uid: Option<&str>) -> Identity {
        Identity {
            namespace: Some("shop".into()),
            pod: Some(name.into()),
            pod_uid: uid.map(str::to_owned),
            ..Identity::default()
        }
    }

    fn found(pods: &Pods, name: &str, uid: Option<&str>) -> Option<String> {
        pods.find(&identity(name, uid)).map(|pod| pod.uid.clone())
    }

    #[test]
    fn a_pod_is_found_by_uid_and_without_one_by_name() {
        let pods = Pods::default();
        pods.put(pod("web-0", "1"));
        assert_eq!(found(&pods, "web-0", Some("1")).as_deref(), Some("1"));
        assert_eq!(found(&pods, "x", Some("1")).as_deref(), Some("1"));
        assert_eq!(found(&pods, "web-0", None).as_deref(), Some("1"));
        assert_eq!(found(&pods, "web-0", Some("2")), None, "an earlier pod of that name");
        assert_eq!(found(&pods, "web-1", None), None);
    }

    #[test]
    fn no_pod_takes_the_uid_of_another() {
        let pods = Pods::default();
        pods.put(pod("victim", "1"));
        pods.put(pod("thief", "1"));
        assert_eq!(
            pods.find(&identity("x", Some("1"))).map(|pod| pod.name.clone()).as_deref(),
            Some("victim")
        );
        pods.remove(&pod("thief", "1"));
        assert_eq!(found(&pods, "victim", Some("1")).as_deref(), Some("1"));
    }

    #[test]
    fn a_pod_that_takes_a_name_over_keeps_it() {
        let pods = Pods::default();
        pods.put(pod("web-0", "1"));
        pods.put(pod("web-0", "2"));
        pods.remove(&pod("web-0", "1"));
        assert_eq!(found(&pods, "web-0", None).as_deref(), Some("2"));
        assert_eq!(found(&pods, "web-0", Some("1")), None);
    }

    #[test]
    fn what_a_new_list_lacks_is_gone_and_nothing_is_missing_meanwhile() {
        let pods = Pods::default();
        pods.put(pod("old", "1"));
        pods.put(pod("stays", "2"));
        pods.begin_list();
        pods.list(pod("stays", "2"));
        pods.list(pod("new", "3"));
        for (name, uid) in [("old", "1"), ("stays", "2"), ("new", "3")] {
            assert_eq!(found(&pods, name, None).as_deref(), Some(uid));
        }
        pods.end_list();
        assert_eq!((pods.len(), found(&pods, "old", Some("1"))), (2, None));
    }

    #[tokio::test]
    async fn who_waits_is_told_when_the_pod_comes() {
        let pods = Pods::default();
        let waiting = tokio::spawn({
            let pods = pods.clone();
            async move { pods.wait_for(&identity("late", Some("7"))).await.uid.clone() }
        });
        for number in 0..3 {
            pods.put(pod("other", &number.to_string()));
            tokio::task::yield_now().await;
        }
        assert!(!waiting.is_finished());
        pods.put(pod("late", "7"));
        assert_eq!(waiting.await.unwrap(), "7");
    }
}
