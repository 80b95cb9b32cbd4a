//! Tells whom a program runs as: `whoami` the user, `whoami /user`, `/groups`, `/priv`, `/all`.

#![no_std]
#![no_main]

extern crate alloc;

use libnt::abi::se::*;
use libnt::prelude::*;
use libnt::token;

libnt::main!(main);

fn main() -> NtResult<u32> {
    let me = token::effective();
    let user = token::user(me)?;
    let Some(option) = env::args().next() else {
        println!("{}", name(&user));
        return Ok(0);
    };
    match option {
        "/user" => show_user(&user),
        "/groups" => show_groups(me)?,
        "/priv" => show_privileges(me)?,
        "/all" => {
            show_user(&user);
            show_groups(me)?;
            show_privileges(me)?;
        }
        _ => {
            println!("usage: whoami [/user | /groups | /priv | /all]");
            return Ok(1);
        }
    }
    Ok(0)
}

/// Its name if it has one, else the SID.
fn name(sid: &Sid) -> String {
    sid.well_known_name().map_or_else(|| sid.to_string(), |name| name.to_lowercase())
}

fn title(text: &str) {
    println!("{text}\n{}\n", "-".repeat(text.len()));
}

fn show_user(user: &Sid) {
    title("USER INFORMATION");
    println!("User Name            SID\n{:<20} {user}\n", name(user));
}

fn show_groups(me: Handle) -> NtResult {
    title("GROUP INFORMATION");
    println!("{:<48} {:<14} Attributes", "Group Name", "SID");
    for group in token::groups(me)? {
        let known = group.sid.well_known_name().map_or_else(String::new, ToOwned::to_owned);
        println!("{known:<48} {:<14} {}", group.sid.to_string(), attributes(group.attributes));
    }
    println!();
    Ok(())
}

/// SE_GROUP_ attributes in NT's words.
fn attributes(attributes: u32) -> String {
    let words = [
        (SE_GROUP_INTEGRITY, "Integrity label"),
        (SE_GROUP_MANDATORY, "Mandatory group"),
        (SE_GROUP_ENABLED_BY_DEFAULT, "Enabled by default"),
        (SE_GROUP_ENABLED, "Enabled group"),
        (SE_GROUP_OWNER, "Group owner"),
        (SE_GROUP_USE_FOR_DENY_ONLY, "Group used for deny only"),
    ];
    let held: Vec<&str> =
        words.iter().filter(|(bit, _)| attributes & bit != 0).map(|(_, word)| *word).collect();
    held.join(", ")
}

fn show_privileges(me: Handle) -> NtResult {
    title("PRIVILEGES INFORMATION");
    println!("{:<42} {:<66} State", "Privilege Name", "Description");
    for privilege in token::privileges(me)? {
        let number = privilege.luid.to_u64();
        let Some((_, name, what)) = PRIVILEGES.iter().find(|(known, ..)| u64::from(*known) == number) else {
            continue;
        };
        let state = if privilege.attributes & SE_PRIVILEGE_ENABLED != 0 { "Enabled" } else { "Disabled" };
        println!("{name:<42} {what:<66} {state}");
    }
    Ok(())
}
