//! The kernel's counted references, the file that the kernel is built from, with loom's atomics: in every order of
//! threads and of memory accesses the value is dropped once, by whoever goes last, who sees all that the others wrote.

/// What the file takes from the kernel.
mod sync {
    pub use loom::sync::atomic;
}

#[path = "../../src/kref.rs"]
#[expect(dead_code, reason = "not all of it is used here")]
mod kref;

use kref::Ref;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

extern crate alloc;

/// A value that tells of its end, with a place that loom watches for accesses that are not ordered.
struct Value {
    drops: Arc<AtomicUsize>,
    place: UnsafeCell<usize>,
}

// SAFETY: loom reports every access to `place` that is not ordered with another.
unsafe impl Sync for Value {}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: the value is being dropped; loom checks that nobody else is at it.
        self.place.with_mut(|place| unsafe { *place += 1 });
        self.drops.fetch_add(1, Ordering::Relaxed);
    }
}

fn value() -> (Ref<Value>, Arc<AtomicUsize>) {
    let drops = Arc::new(AtomicUsize::new(0));
    let value = Value { drops: drops.clone(), place: UnsafeCell::new(0) };
    (Ref::try_new(value).ok().unwrap(), drops)
}

/// Reads the place, as any holder of a reference may.
fn read(value: &Value) -> usize {
    // SAFETY: nobody writes it before the value is dropped; loom checks that.
    value.place.with(|place| unsafe { *place })
}

#[test]
fn the_last_one_drops_the_value() {
    loom::model(|| {
        let (first, drops) = value();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let own = first.clone();
                thread::spawn(move || {
                    assert_eq!(read(&own), 0);
                    let further = own.clone();
                    drop(own);
                    assert_eq!(read(&further), 0);
                })
            })
            .collect();
        assert_eq!(read(&first), 0);
        drop(first);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(drops.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn pointers_keep_the_value() {
    loom::model(|| {
        let (first, drops) = value();
        let pointer = Ref::into_raw(first.clone()) as usize;
        let other = thread::spawn(move || {
            // SAFETY: the pointer came from `into_raw` and is taken back here only.
            let own = unsafe { Ref::from_raw(pointer as *const Value) };
            // SAFETY: `own` keeps the value alive.
            let further = unsafe { Ref::from_alive(&*own) };
            drop(own);
            assert_eq!(read(&further), 0);
        });
        drop(first);
        other.join().unwrap();
        assert_eq!(drops.load(Ordering::Relaxed), 1);
    });
}
