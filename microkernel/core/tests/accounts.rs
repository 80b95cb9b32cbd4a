//! The kernel's accounts of quota, the file that the kernel is built from, with loom's atomics: whatever several threads
//! charge and give back in whatever order, no more is out than the limit, and nothing is lost.

/// What the file takes from the kernel.
mod sync {
    pub use loom::sync::atomic;
}

#[path = "../../src/account.rs"]
mod account;

use account::Account;
use loom::sync::Arc;
use loom::thread;

#[test]
fn no_more_is_out_than_the_limit() {
    loom::model(|| {
        let account = Arc::new(Account::new(3));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let account = account.clone();
                thread::spawn(move || {
                    let granted = account.charge(2);
                    assert!(account.used() <= 3);
                    granted
                })
            })
            .collect();
        let granted =
            threads.into_iter().map(|thread| thread.join().unwrap()).filter(|granted| *granted).count();
        // One of two that do not both fit always does.
        assert_eq!(granted, 1);
        assert_eq!(account.used(), 2);
        assert!(account.charge(1) && !account.charge(1));
    });
}

#[test]
fn what_is_given_back_can_be_charged_again() {
    loom::model(|| {
        let account = Arc::new(Account::new(2));
        assert!(account.charge(2));
        let gives = account.clone();
        let giver = thread::spawn(move || {
            gives.give_back(1);
            gives.give_back(1);
        });
        let takes = account.clone();
        let taker = thread::spawn(move || u64::from(takes.charge(1)) + u64::from(takes.charge(1)));
        giver.join().unwrap();
        let taken = taker.join().unwrap();
        assert_eq!(account.used(), taken);
        assert_eq!(account.charge(2 - taken), true);
        assert!(!account.charge(1));
    });
}

#[test]
fn a_limit_that_falls_counts_for_what_comes() {
    loom::model(|| {
        let account = Arc::new(Account::new(4));
        let limits = account.clone();
        let other = thread::spawn(move || limits.set_limit(1));
        let granted = account.charge(1) && account.charge(1);
        other.join().unwrap();
        assert!(account.used() == if granted { 2 } else { 1 });
        assert!(!account.charge(1), "the lower limit holds once it is set");
        account.give_back(account.used());
        assert!(account.charge(1));
    });
}

#[test]
fn an_amount_that_overflows_is_refused() {
    loom::model(|| {
        let account = Arc::new(Account::new(u64::MAX));
        let other = account.clone();
        let thread = thread::spawn(move || other.charge(u64::MAX));
        let granted = [account.charge(1), thread.join().unwrap()];
        assert_eq!(granted.iter().filter(|granted| **granted).count(), 1);
    });
}

/// As a process's pages are charged: to its quota block and to the whole system, or to neither.
#[test]
fn two_accounts_are_charged_both_or_neither() {
    loom::model(|| {
        let system = Arc::new(Account::new(1));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let system = system.clone();
                thread::spawn(move || {
                    let own = Account::new(1);
                    let granted = own.charge(1) && {
                        let both = system.charge(1);
                        if !both {
                            own.give_back(1);
                        }
                        both
                    };
                    assert_eq!(own.used(), u64::from(granted));
                    granted
                })
            })
            .collect();
        let granted = threads.into_iter().filter(|_| true).map(|thread| thread.join().unwrap());
        assert_eq!(granted.filter(|granted| *granted).count(), 1);
        assert_eq!(system.used(), 1);
    });
}
