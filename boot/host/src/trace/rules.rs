//! The rules of the Trace Event format, checked on a file: what a viewer would draw wrongly or drop without a word is an error here.

use serde_json::Value;
use std::collections::BTreeMap;

type Thread = (u64, u64);

/// Checks a trace: every event has its fields, the slices of a thread nest, each flow has one start and one end, in this order and each in a slice of its
/// thread, async spans are closed, counters count. Gives the numbers of slices and flows.
///
/// # Errors
/// The first rule that is broken, and where.
pub fn check(text: &str) -> Result<(usize, usize), String> {
    let trace: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let events = trace["traceEvents"].as_array().ok_or("there is no array `traceEvents`")?;
    let mut slices: BTreeMap<Thread, Vec<(u64, u64)>> = BTreeMap::new();
    let mut flows: BTreeMap<String, Vec<(char, Thread, u64)>> = BTreeMap::new();
    let mut spans: BTreeMap<String, i64> = BTreeMap::new();
    for event in events {
        let wrong = |what: &str| format!("{what}: {event}");
        let phase = event["ph"].as_str().ok_or_else(|| wrong("no phase"))?;
        let number = |name: &str| event[name].as_u64().ok_or_else(|| wrong(&format!("no {name}")));
        let thread = (number("pid")?, number("tid")?);
        event["name"].as_str().ok_or_else(|| wrong("no name"))?;
        if phase == "M" {
            event["args"]["name"].as_str().ok_or_else(|| wrong("no name in it"))?;
            continue;
        }
        let time = nanoseconds(&event["ts"]).ok_or_else(|| wrong("no time"))?;
        let id = || {
            let id = event["id"].as_str().ok_or_else(|| wrong("no id"))?;
            Ok::<_, String>(format!("{}/{}/{id}", event["cat"], event["name"]))
        };
        match phase {
            "X" => {
                let length = nanoseconds(&event["dur"]).ok_or_else(|| wrong("no length"))?;
                slices.entry(thread).or_default().push((time, time + length));
            }
            "s" | "f" => {
                if phase == "f" && event["bp"] != "e" {
                    return Err(wrong("the end of a flow that binds to the next slice"));
                }
                let letter = if phase == "s" { 's' } else { 'f' };
                flows.entry(id()?).or_default().push((letter, thread, time));
            }
            "b" => *spans.entry(id()?).or_default() += 1,
            "e" => *spans.entry(id()?).or_default() -= 1,
            "C" => drop(
                event["args"]["messages"].as_i64().filter(|n| *n >= 0).ok_or_else(|| wrong("no count"))?,
            ),
            _ => return Err(wrong("a phase that is not used here")),
        }
    }
    for (thread, slices) in &mut slices {
        nests(slices).map_err(|what| format!("thread {thread:?}: {what}"))?;
    }
    for (id, ends) in &flows {
        ends_lie_in_slices(ends, &slices).map_err(|what| format!("flow {id}: {what}"))?;
    }
    if let Some((id, _)) = spans.iter().find(|(_, open)| **open != 0) {
        return Err(format!("span {id} is not closed, or closed twice"));
    }
    Ok((slices.values().map(Vec::len).sum(), flows.len()))
}

/// A time or length in microseconds, as whole nanoseconds.
fn nanoseconds(value: &Value) -> Option<u64> {
    let time = (value.as_f64()? * 1000.0).round();
    (time >= 0.0).then_some(time as u64)
}

fn nests(slices: &mut [(u64, u64)]) -> Result<(), String> {
    slices.sort_by_key(|(start, end)| (*start, std::cmp::Reverse(*end)));
    let mut open: Vec<u64> = Vec::new();
    for (start, end) in slices {
        while open.last().is_some_and(|around| around <= start) {
            open.pop();
        }
        if open.last().is_some_and(|around| *around < *end) {
            return Err(format!(
                "the slice from {start} to {end} ns does not nest in that to {:?}",
                open.last()
            ));
        }
        open.push(*end);
    }
    Ok(())
}

fn ends_lie_in_slices(
    ends: &[(char, Thread, u64)],
    slices: &BTreeMap<Thread, Vec<(u64, u64)>>,
) -> Result<(), String> {
    let [('s', from, start), ('f', to, end)] = ends else {
        return Err("a flow has one start and then one end".into());
    };
    if start > end {
        return Err("it ends before it starts".into());
    }
    for (thread, time) in [(from, start), (to, end)] {
        let inside = |(start, end): &(u64, u64)| (start..=end).contains(&time);
        // The slices are sorted by their starts.
        let found = slices.get(thread).is_some_and(|all| {
            let until = all.partition_point(|(start, _)| start <= time);
            all[..until].iter().rev().any(inside)
        });
        if !found {
            return Err(format!("at {time} ns there is no slice on thread {thread:?}"));
        }
    }
    Ok(())
}
