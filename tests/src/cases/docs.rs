//! The documentation: each command that it shows is run, and must print what is shown.
//!
//! A block is fenced by three backticks and the word `console`. Each line in it that starts with `$ ` is a command line of
//! `./run.sh exec` or `./run.sh trace`, up to the next one follows what it prints. In the shown output `...` stands for any text within a
//! line, and a line that is `...` alone for any number of lines. Blocks of one page that ask for the same machine
//! share one; a block that stops the kernel shows the message and is the last one of its machine.

use crate::runner::{Case, Context, Outcome, case, check, plain, words};
use antares_host::exec::{self, Step};
use antares_host::paths;
use antares_host::qemu::{Boot, Machine};
use antares_host::session::{Line, Session};
use std::fs;
use std::path::{Path, PathBuf};

/// Pages that explain no mechanism and so show no command.
const WITHOUT_COMMANDS: [&str; 2] = ["CAVEATS.md", "syscalls.md"];

/// The group: a case per page, and what holds for all of them.
pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("docs::smallest_program", smallest_program),
        case("docs::links", links),
        case("docs::try_it", try_it),
    ];
    for page in pages().unwrap_or_default() {
        let name = page.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
        // Cases live as long as the tests do.
        cases.push(case(Box::leak(format!("docs::page_{name}").into_boxed_str()), page_of_this_name));
    }
    cases
}

/// README.md and docs/*.md.
fn pages() -> Result<Vec<PathBuf>, String> {
    let root = paths::root().map_err(words)?;
    let entries = fs::read_dir(root.join("docs")).map_err(|error| format!("docs: {error}"))?;
    let mut pages: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    pages.insert(0, root.join("README.md"));
    Ok(pages)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The README's smallest program is the file it says it is.
fn smallest_program(_: &Context) -> Outcome {
    let root = paths::root().map_err(words)?;
    let program = read(&root.join("apps/hello/src/main.rs"))?;
    let readme = read(&root.join("README.md"))?;
    let shown = format!("```rust\n{program}```\n");
    check(readme.contains(&shown), "README.md does not show apps/hello/src/main.rs as it is", &program)
}

/// Every relative link leads to a file or folder.
fn links(_: &Context) -> Outcome {
    let mut broken = String::new();
    for page in pages()? {
        let text = read(&page)?;
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            let folder = page.parent().unwrap_or(Path::new(""));
            if !file.is_empty() && !file.contains("://") && !folder.join(file).exists() {
                broken += &format!("{}: {target}\n", page.display());
            }
        }
    }
    check(broken.is_empty(), "links lead nowhere", &broken)
}

/// Every page has something to try.
fn try_it(_: &Context) -> Outcome {
    let mut without = String::new();
    for page in pages()? {
        let name = page.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !WITHOUT_COMMANDS.contains(&name.as_str()) && commands(&read(&page)?)?.is_empty() {
            without += &format!("{name}\n");
        }
    }
    check(without.is_empty(), "pages without a command to try", &without)
}

/// A command line and what it is to print.
struct Shown {
    line: usize,
    machine: Machine,
    steps: Vec<Step>,
    /// Arguments of `./run.sh trace`, if it is that.
    trace: Option<Vec<String>>,
    output: Vec<String>,
}

/// The commands of a page, in order.
fn commands(text: &str) -> Result<Vec<Shown>, String> {
    let mut found: Vec<Shown> = Vec::new();
    let mut fence: Option<bool> = None;
    for (number, line) in text.lines().enumerate() {
        if let Some(kind) = line.strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(kind == "console") };
        } else if fence == Some(true) {
            if let Some(arguments) = line.strip_prefix("$ ./run.sh trace ") {
                let trace = Some(split(arguments).map_err(|why| format!("line {}: {why}", number + 1))?);
                let (machine, steps) = (plain(), Vec::new());
                found.push(Shown { line: number + 1, machine, steps, trace, output: Vec::new() });
            } else if let Some(command) = line.strip_prefix("$ ") {
                let (machine, steps) = parse(command).map_err(|why| format!("line {}: {why}", number + 1))?;
                found.push(Shown { line: number + 1, machine, steps, trace: None, output: Vec::new() });
            } else if let Some(shown) = found.last_mut() {
                shown.output.push(line.to_owned());
            }
        }
    }
    Ok(found)
}

/// Reads `./run.sh exec [--boot B] [--smp N] [--mem N] [--kd 'C']... 'C'...`.
fn parse(command: &str) -> Result<(Machine, Vec<Step>), String> {
    let mut words = split(command)?.into_iter();
    if words.next().as_deref() != Some("./run.sh") || words.next().as_deref() != Some("exec") {
        return Err(format!("a console block runs ./run.sh exec, not `{command}`"));
    }
    let (mut machine, mut steps) = (plain(), Vec::new());
    while let Some(word) = words.next() {
        if !word.starts_with("--") {
            steps.push(Step { line: Line::Console, command: word });
            continue;
        }
        if word == "--icount" {
            (machine.icount, machine.smp) = (true, 1);
            continue;
        }
        let value = words.next().ok_or_else(|| format!("{word} has no value"))?;
        let number = || value.parse().map_err(|_| format!("{word} {value}: not a number"));
        match word.as_str() {
            "--kd" => steps.push(Step { line: Line::Kd, command: value }),
            "--smp" => machine.smp = number()?,
            "--mem" => machine.mem = number()?,
            "--boot" if value == "direct" => machine.boot = Boot::Direct,
            _ => return Err(format!("the documentation's checks do not know {word} {value}")),
        }
    }
    Ok((machine, exec::order(steps)))
}

/// Splits as a shell does, with single quotes only.
fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut is_quoted = false;
    for c in line.chars() {
        match c {
            '\'' => {
                is_quoted = !is_quoted;
                word.get_or_insert_default();
            }
            ' ' if !is_quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    if is_quoted {
        return Err(format!("a quote is not closed: {line}"));
    }
    words.extend(word);
    Ok(words)
}

/// Runs the commands of the page that the case is named after.
fn page_of_this_name(test: &Context) -> Outcome {
    let stem = test.name().trim_start_matches("docs::page_");
    let page = pages()?
        .into_iter()
        .find(|page| page.file_stem().is_some_and(|name| name.to_string_lossy().to_lowercase() == stem));
    let page = page.ok_or("the page is gone")?;
    let mut session: Option<(Session, String)> = None;
    for shown in commands(&read(&page)?)? {
        if let Some(arguments) = &shown.trace {
            trace(test, arguments, &shown)
                .map_err(|why| format!("{}:{}: {why}", page.display(), shown.line))?;
            continue;
        }
        let machine = format!("{:?}", shown.machine);
        let mut running = match session.take() {
            Some((running, of)) if of == machine => running,
            other => {
                if let Some((old, _)) = other {
                    old.shutdown().map_err(words)?;
                }
                test.boot(shown.machine.clone())?
            }
        };
        let mut out = Vec::new();
        let result = exec::drive(&mut running, &shown.steps, &mut out);
        let mut text = String::from_utf8_lossy(&out).into_owned();
        match result {
            Ok((_, has_ended)) => session = (!has_ended).then_some((running, machine)),
            Err(error) => text += &format!("antares: {error}\n"),
        }
        let lines: Vec<&str> = text.lines().collect();
        if let Err(wanted) = matches(&shown.output, &lines) {
            return Err(format!(
                "{}:{}: the output is another one; no line for `{wanted}` in:\n{text}",
                page.display(),
                shown.line
            ));
        }
    }
    match session {
        Some((running, _)) => running.shutdown().map_err(words),
        None => Ok(()),
    }
}

/// Runs `./run.sh trace`: it prints what is shown, and its file is there.
fn trace(test: &Context, arguments: &[String], shown: &Shown) -> Outcome {
    let temp = paths::TempDir::new().map_err(words)?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ran = test.tool("trace", &arguments, temp.path())?;
    let text = ran.out + &ran.err;
    let lines: Vec<&str> = text.lines().collect();
    matches(&shown.output, &lines).map_err(|wanted| format!("no line for `{wanted}` in:\n{text}"))?;
    let mut files = fs::read_dir(temp.path()).map_err(|error| error.to_string())?.flatten();
    let written = files.any(|file| file.metadata().is_ok_and(|about| about.len() > 0));
    check(written, "no file was written", &text)
}

/// Do the lines match the shown ones? If not, the shown line at which it failed.
fn matches(shown: &[String], lines: &[&str]) -> Result<(), String> {
    match shown.split_first() {
        None if lines.is_empty() => Ok(()),
        None => Err("the end".into()),
        Some((first, rest)) if first.trim() == "..." => {
            let mut failure = Err("the end".into());
            for from in 0..=lines.len() {
                match matches(rest, &lines[from..]) {
                    Ok(()) => return Ok(()),
                    Err(wanted) if from == 0 || rest.first() != Some(&wanted) => failure = Err(wanted),
                    Err(_) => {}
                }
            }
            failure
        }
        Some((first, rest)) => match lines.split_first() {
            Some((line, others)) if line_matches(first.trim_end(), line.trim_end()) => matches(rest, others),
            _ => Err(first.clone()),
        },
    }
}

/// Does a line match a shown one, in which `...` stands for any text?
fn line_matches(shown: &str, line: &str) -> bool {
    match shown.split_once("...") {
        None => shown == line,
        Some((head, tail)) => line.strip_prefix(head).is_some_and(|rest| {
            rest.char_indices()
                .map(|(at, _)| at)
                .chain([rest.len()])
                .any(|at| line_matches(tail, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shown: &str, text: &str) -> Result<(), String> {
        let shown: Vec<String> = shown.lines().map(str::to_owned).collect();
        matches(&shown, &text.lines().collect::<Vec<_>>())
    }

    #[test]
    fn dots_stand_for_text_and_lines() {
        assert_eq!(check("a\nb ... d\n", "a  \nb ccc d\n"), Ok(()));
        assert_eq!(check("a\n...\nz", "a\nb\nc\nz"), Ok(()));
        assert_eq!(check("a\n...\nz", "a\nz"), Ok(()));
        assert_eq!(check("...\nq", "a\nz"), Err("q".into()));
        assert_eq!(check("a\nb", "a"), Err("b".into()));
        assert_eq!(check("a", "a\nb"), Err("the end".into()));
        assert_eq!(check("x=...y", "x=1y2y"), Ok(()));
        assert_eq!(check("x=...y", "x=1z"), Err("x=...y".into()));
    }

    #[test]
    fn blocks_are_found() {
        let text = "```rust\n$ no\n```\n\n```console\n$ ./run.sh exec --kd 'a b' 'winobj \\'\nx\ny\n$ ./run.sh exec hello\n```\n";
        let found = commands(text).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].line, found[0].output.len(), found[1].output.len()), (6, 2, 0));
        let steps: Vec<_> = found[0].steps.iter().map(|step| step.command.as_str()).collect();
        assert_eq!(steps, ["winobj \\", "a b"]);
        assert!(parse("ls").is_err());
        assert!(parse("./run.sh exec --what x").is_err());
        assert!(parse("./run.sh exec 'x").is_err());
    }
}
