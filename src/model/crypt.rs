//! Hashes of passwords that HAProxy verifies.

/// Rounds of SHA-crypt that take some 3 ms; what costs more than 5 ms lets a few logins keep HAProxy from everything else.
const SHA_ROUNDS_MAX: u32 = 10_000;
/// The cost of bcrypt that takes some 3 ms.
const BCRYPT_COST_MAX: u32 = 6;
/// The parameters of yescrypt that take 1 and 3 ms (crypt(5)); its default takes 20.
const YESCRYPT: [&str; 2] = ["j75", "j85"];

/// Takes a hash of crypt(3) for what it says of itself, without computing it: HAProxy computes it with every request, and
/// one that takes seconds has its watchdog kill it (crypt(5) has the forms).
///
/// # Errors
/// It is none, or costs too much; no error repeats it.
pub fn check_hash(hash: &str) -> Result<(), String> {
    let expected =
        || "expected the password as a hash of crypt(3), as `mkpasswd -m sha-512` makes it".to_owned();
    let known = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '/');
    let Some(rest) = hash.strip_prefix('$') else {
        // DES: two characters of salt and eleven of hash.
        return if hash.len() == 13 && known(hash) { Ok(()) } else { Err(expected()) };
    };
    let fields: Vec<&str> = rest.split('$').collect();
    let costs =
        |what: &str| Err(format!("its hash takes more than 5 ms to verify, with each request: {what}"));
    let form = |salt: &str, sum: &str, length: usize| {
        if known(salt) && salt.len() <= 86 && sum.len() == length && known(sum) {
            Ok(())
        } else {
            Err(expected())
        }
    };
    match fields[..] {
        ["1", salt, sum] => form(salt, sum, 22),
        ["5", salt, sum] => form(salt, sum, 43),
        ["6", salt, sum] => form(salt, sum, 86),
        [kind @ ("5" | "6"), rounds, salt, sum] => {
            let rounds = rounds.strip_prefix("rounds=").ok_or_else(expected)?;
            let rounds: u32 = rounds.parse().map_err(|_| expected())?;
            if rounds > SHA_ROUNDS_MAX {
                return costs("use at most rounds=10000");
            }
            form(salt, sum, if kind == "5" { 43 } else { 86 })
        }
        ["2a" | "2b" | "2x" | "2y", cost, sum] => {
            let two_digits = cost.len() == 2;
            let cost: u32 = cost.parse().ok().filter(|_| two_digits).ok_or_else(expected)?;
            if cost > BCRYPT_COST_MAX {
                return costs("use a cost of at most 06");
            }
            form("", sum, 53)
        }
        ["y", parameters, salt, sum] => {
            if !YESCRYPT.contains(&parameters) {
                return costs(
                    "of yescrypt only $y$j75$ and $y$j85$ are taken; `mkpasswd -m sha-512` is quick enough",
                );
            }
            form(salt, sum, 43)
        }
        _ => Err(expected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_taken_only_if_it_says_that_it_is_quick_to_verify() {
        let sum = |length: usize| "a".repeat(length);
        for good in [
            "abJnggxhB/yWI".to_owned(),
            format!("$1$abcdefgh${}", sum(22)),
            format!("$5$abcdefgh${}", sum(43)),
            format!("$6$abcdefgh${}", sum(86)),
            format!("$6$rounds=10000$abcdefgh${}", sum(86)),
            format!("$2y$05${}", sum(53)),
            format!("$y$j75$abcdefgh${}", sum(43)),
        ] {
            assert!(check_hash(&good).is_ok(), "{good}");
        }
        for costly in [
            format!("$6$rounds=20000000$abcdefgh${}", sum(86)),
            format!("$2b$12${}", sum(53)),
            format!("$y$j9T$abcdefgh${}", sum(43)),
        ] {
            assert!(check_hash(&costly).unwrap_err().contains("5 ms"), "{costly}");
        }
        for bad in
            ["", "password", "$6$x$y", "$6$a b$x", "$7$CU..../....abcdefgh$x", "$6$rounds=-1$a$b", "$2b$5$x"]
        {
            assert!(check_hash(bad).is_err(), "{bad}");
        }
    }
}
