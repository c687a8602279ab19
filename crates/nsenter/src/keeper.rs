//! Which helpers there are, and for how long.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use crate::caller::Caller;
use crate::error::Error;
use crate::helper::{Helper, Refusal};
use crate::home::NamespaceId;
use crate::scene::Scene;

/// Helpers of all containers. Each is a process, a thread and a stack.
const MAX_HELPERS: usize = 1024;

/// Helpers of one container: it has one user namespace, or makes others in it. Of more, the one that was idle
/// longest makes room.
const MAX_HELPERS_EACH: usize = 8;

/// How many helpers of one container are replaced after somebody has killed them. Each may leave descriptors of
/// its container open.
const MAX_REPLACED: u32 = 16;

/// On whose behalf helpers are kept: a listener of a container. All keepers of one container share its helpers, and
/// no two containers do, be they in one user namespace: a container can only block its own. The last keeper of a
/// container that is dropped takes the helpers along.
#[derive(Clone, Debug)]
pub struct Keeper(Arc<Mutex<House>>);

impl Keeper {
    /// One for the container with this id.
    pub fn new(container: &str) -> Self {
        let mut houses = HOUSES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(house) = houses.get(container).and_then(Weak::upgrade) {
            return Self(house);
        }
        houses.retain(|_, house| house.strong_count() > 0);
        let house = Arc::default();
        houses.insert(container.to_owned(), Arc::downgrade(&house));
        Self(house)
    }

    /// The room of the helper for a user namespace.
    pub(crate) fn room(&self, namespace: NamespaceId) -> Result<Arc<Room>, Refusal> {
        let mut house = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (room, left) = house.room(namespace)?;
        drop(house);
        // Its helper ends, without anybody waiting for it at the door.
        drop(left);
        Ok(room)
    }
}

/// What is kept for one container.
#[derive(Debug, Default)]
struct House {
    /// The one used last is the last.
    rooms: Vec<Arc<Room>>,
    replaced: Arc<AtomicU32>,
}

impl House {
    /// The room for a user namespace, and the one that was given up for it.
    fn room(&mut self, namespace: NamespaceId) -> Result<(Arc<Room>, Option<Arc<Room>>), Refusal> {
        if let Some(at) = self.rooms.iter().position(|room| room.namespace == namespace) {
            let room = self.rooms.remove(at);
            self.rooms.push(Arc::clone(&room));
            return Ok((room, None));
        }
        let left = if self.rooms.len() < MAX_HELPERS_EACH { None } else { Some(self.make_room()?) };
        let room = Arc::new(Room::new(namespace, Arc::clone(&self.replaced))?);
        self.rooms.push(Arc::clone(&room));
        Ok((room, left))
    }

    fn make_room(&mut self) -> Result<Arc<Room>, Refusal> {
        let idle = self.rooms.iter().position(|room| Arc::strong_count(room) == 1);
        idle.map(|at| self.rooms.remove(at)).ok_or(("the bound on one container's helpers", Errno::AGAIN))
    }
}

/// By the container's id.
static HOUSES: Mutex<BTreeMap<String, Weak<Mutex<House>>>> = Mutex::new(BTreeMap::new());

/// How many rooms there are.
static ROOMS: AtomicUsize = AtomicUsize::new(0);

/// Where the helper for one user namespace is, once there is one. It acts for one caller at a time.
#[derive(Debug)]
pub(crate) struct Room {
    namespace: NamespaceId,
    helper: Mutex<Option<Helper>>,
    /// Of the whole container.
    replaced: Arc<AtomicU32>,
}

impl Room {
    fn new(namespace: NamespaceId, replaced: Arc<AtomicU32>) -> Result<Self, Refusal> {
        let count = ROOMS.fetch_add(1, Ordering::Relaxed);
        // From here on dropping it counts it out.
        let room = Self { namespace, helper: Mutex::new(None), replaced };
        if count < MAX_HELPERS { Ok(room) } else { Err(("the bound on all helpers", Errno::AGAIN)) }
    }

    /// [`Helper::act`], by a helper that is started if there is none.
    pub(crate) fn act<T>(
        &self,
        caller: &Caller,
        is_valid: impl FnOnce() -> bool,
        effective: CapabilitySet,
        deed: impl FnOnce(&Scene<'_>) -> Result<T, Errno>,
    ) -> Result<T, Error> {
        let mut place = self.helper.lock().unwrap_or_else(PoisonError::into_inner);
        if place.as_ref().is_some_and(Helper::has_ended) {
            *place = None;
            self.replaced.fetch_add(1, Ordering::Relaxed);
        }
        let helper = match &mut *place {
            Some(helper) => helper,
            none => none.insert(self.start(caller)?),
        };
        if !is_valid() {
            return Err(Error::Gone);
        }
        helper.act(caller, effective, deed)
    }

    fn start(&self, caller: &Caller) -> Result<Helper, Error> {
        let started = if self.replaced.load(Ordering::Relaxed) > MAX_REPLACED {
            Err(("the bound on helpers that were killed", Errno::AGAIN))
        } else {
            Helper::start(caller)
        };
        started.map_err(|(step, source)| Error::NoHelper { tid: caller.tid(), step, source })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        ROOMS.fetch_sub(1, Ordering::Relaxed);
    }
}
