//! Kernel counters before and after.

use crate::Test;
use core::time::Duration;
use libnt::abi::info::SystemKernelCounters;
use libnt::abi::ob::ObjectType;
use libnt::info;
use libnt::prelude::*;

/// How long the kernel may take to give back what ended programs had.
const PATIENCE: u32 = 100;
/// Bytes by which the kernel's tables may have grown at their fullest; they do not shrink. What is lost piece by piece shows
/// in the number of blocks.
const TABLES: u64 = 0x4_0000;
const STEP: Duration = Duration::from_millis(30);

/// The kernel's counters at some time.
#[derive(Clone, Copy, Debug)]
pub struct Counters(SystemKernelCounters);

impl Counters {
    /// The counters now.
    pub fn now() -> NtResult<Self> {
        info::counters().map(Self)
    }

    /// The counters once they stand still: servers may still be at work on what they were sent.
    pub fn settled() -> NtResult<Self> {
        let mut last = Self::now()?;
        for _ in 0..PATIENCE {
            libnt::time::sleep(STEP);
            let now = Self::now()?;
            if now.differences(&last, 0).is_empty() {
                return Ok(now);
            }
            last = now;
        }
        Ok(last)
    }

    /// What differs from `before`, beyond `slack` frames and heap blocks that others (a server's heap) may have taken.
    fn differences(&self, before: &Self, slack: u64) -> Vec<String> {
        let (now, then) = (&self.0, &before.0);
        let frames =
            |c: &SystemKernelCounters| c.frames_total.saturating_sub(c.frames_free + c.frames_cached);
        let mut found = Vec::new();
        let mut exact = |name: &str, now: u64, then: u64, slack: u64| {
            if now > then.saturating_add(slack) || (slack == 0 && now < then) {
                found.push(format!("{name}: {then} before, {now} after"));
            }
        };
        exact("frames in use", frames(now), frames(then), slack);
        exact("kernel heap blocks", now.heap_blocks, then.heap_blocks, slack);
        exact("kernel heap bytes", now.heap_bytes, then.heap_bytes, slack * 256 + TABLES);
        exact("handles", now.handles, then.handles, 0);
        exact("processes", now.processes, then.processes, 0);
        exact("threads", now.threads, then.threads, 0);
        exact("messages", now.messages, then.messages, 0);
        for (number, (now, then)) in now.objects.iter().zip(then.objects).enumerate() {
            let kind = u8::try_from(number).ok().and_then(ObjectType::from_number);
            let name = kind.map_or_else(
                || format!("objects of type {number}"),
                |kind| format!("{} objects", kind.name()),
            );
            exact(&name, *now, then, 0);
        }
        found
    }

    /// Checks that everything is back where it was, within a few seconds.
    pub fn must_return(&self, test: &mut Test, slack: u64) {
        let mut found = Vec::new();
        for _ in 0..PATIENCE {
            found = match Self::now() {
                Ok(now) => now.differences(self, slack),
                Err(status) => vec![format!("kernel counters: {status}")],
            };
            if found.is_empty() {
                break;
            }
            libnt::time::sleep(STEP);
        }
        test.check("the kernel's counters come back", found.is_empty());
        for difference in found {
            test.fail(format_args!("leak: {difference}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaks_are_found() {
        let before =
            Counters(SystemKernelCounters { frames_total: 100, frames_free: 50, ..Default::default() });
        assert_eq!(before.differences(&before, 0), Vec::<String>::new());
        let mut after = before;
        after.0.frames_free = 40;
        after.0.objects[3] = 1;
        assert_eq!(
            after.differences(&before, 5),
            ["frames in use: 50 before, 60 after", "Event objects: 0 before, 1 after"]
        );
        assert_eq!(after.differences(&before, 10), ["Event objects: 0 before, 1 after"]);
    }
}
