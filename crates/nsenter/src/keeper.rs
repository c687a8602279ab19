//! Which helpers there are, and for how long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use crate::caller::Caller;
use crate::error::Error;
use crate::helper::Helper;
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

/// On whose behalf helpers are kept: a listener of a container. All listeners of a container share its helpers, and
/// no two containers do, be they in one user namespace: a container can only block its own.
#[derive(Clone, Copy, Debug)]
pub struct Keeper<'c> {
    container: &'c str,
    listener: usize,
}

impl<'c> Keeper<'c> {
    /// A listener of the container with this id. It is known by the address of `listener`, which has to stay
    /// until it is [released](Self::release).
    pub fn new<L>(container: &'c str, listener: &L) -> Self {
        Self { container, listener: std::ptr::from_ref(listener).addr() }
    }

    /// Says that no more callers of this listener are acted for. The last listener of a container takes the
    /// helpers along.
    pub fn release(self) {
        let mut houses = houses();
        let Some(house) = houses.get_mut(self.container) else { return };
        house.listeners.remove(&self.listener);
        if house.listeners.is_empty() {
            let ended = houses.remove(self.container);
            drop(houses);
            drop(ended);
        }
    }

    /// The room of the helper for a user namespace.
    pub(crate) fn room(self, namespace: NamespaceId) -> Result<Arc<Room>, (&'static str, Errno)> {
        let mut houses = houses();
        if !houses.contains_key(self.container) {
            houses.insert(self.container.to_owned(), House::default());
        }
        let house = houses.get_mut(self.container).ok_or(NOT_FOUND)?;
        house.listeners.insert(self.listener);
        if let Some(at) = house.rooms.iter().position(|room| room.namespace == namespace) {
            house.rooms[at..].rotate_left(1);
        } else {
            let left = if house.rooms.len() < MAX_HELPERS_EACH { None } else { Some(house.make_room()?) };
            let room = Room::new(namespace, Arc::clone(&house.replaced))?;
            house.rooms.push(Arc::new(room));
            drop(left);
        }
        house.rooms.last().map(Arc::clone).ok_or(NOT_FOUND)
    }
}

const NOT_FOUND: (&str, Errno) = ("finding its place", Errno::CHILD);

/// What is kept for one container.
#[derive(Debug, Default)]
struct House {
    listeners: BTreeSet<usize>,
    /// The one used last is the last.
    rooms: Vec<Arc<Room>>,
    replaced: Arc<AtomicU32>,
}

impl House {
    fn make_room(&mut self) -> Result<Arc<Room>, (&'static str, Errno)> {
        let idle = self.rooms.iter().position(|room| Arc::strong_count(room) == 1);
        idle.map(|at| self.rooms.remove(at)).ok_or(("the bound on one container's helpers", Errno::AGAIN))
    }
}

/// By the container's id.
static HOUSES: Mutex<BTreeMap<String, House>> = Mutex::new(BTreeMap::new());

fn houses() -> MutexGuard<'static, BTreeMap<String, House>> {
    HOUSES.lock().unwrap_or_else(PoisonError::into_inner)
}

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
    fn new(namespace: NamespaceId, replaced: Arc<AtomicU32>) -> Result<Self, (&'static str, Errno)> {
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
