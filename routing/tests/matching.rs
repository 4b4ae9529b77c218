//! Which rule a request meets, and what the rule makes of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may stop at the first surprise")]

use proptest::prelude::*;
use routing::matching::{below, host_name};
use routing::{
    Answer, Backend, Entry, Facts, HeaderEdits, HostMatch, Listener, Match, PathEdit, PathMatch, Pattern,
    Port, Rule, Share, Target, TargetName, ValueMatch, draw,
};
use std::sync::Arc;

/// A request, in text.
#[derive(Clone, Copy, Debug)]
struct Asked<'a> {
    host: &'a str,
    path: &'a str,
    query: &'a str,
    method: &'a str,
    headers: &'a [(&'a str, &'a str)],
}

const PLAIN: Asked<'_> = Asked { host: "h", path: "/", query: "", method: "GET", headers: &[] };

fn rule_at<'p>(port: &'p Port, asked: &Asked<'_>) -> Option<&'p str> {
    let header = |name: &str| asked.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let Asked { host, path, query, method, .. } = *asked;
    port.rule(&Facts { host, path, query, method, header }).map(|entry| &*entry.rule.name)
}

fn backend() -> Arc<Backend> {
    let target = Target::new(TargetName::parse("t").unwrap(), "127.0.0.1:1".parse().unwrap(), "/mcp");
    Arc::new(Backend::http("b".into(), target))
}

fn entry(name: &str, host: &str, on: Match) -> Entry {
    Entry { host: HostMatch::parse(host), on, rule: Arc::new(Rule::to(name, backend())) }
}

fn prefix(path: &str) -> Match {
    Match { path: PathMatch::Prefix(path.to_owned()), ..Match::default() }
}

fn exact(path: &str) -> Match {
    Match { path: PathMatch::Exact(path.to_owned()), ..Match::default() }
}

fn pattern(path: &str) -> Match {
    Match { path: PathMatch::Regex(Pattern::new(path).unwrap()), ..Match::default() }
}

fn is(name: &str, value: &str) -> (String, ValueMatch) {
    (name.to_owned(), ValueMatch::Exact(value.to_owned()))
}

fn port(entries: Vec<Entry>) -> Port {
    Port::new(vec![Listener::new(HostMatch::Any, entries)])
}

#[test]
fn the_most_specific_match_wins_whatever_stands_first() {
    let of_get = |on: Match| Match { method: Some("GET".to_owned()), ..on };
    let with = |on: Match, headers: &[&str], query: &[&str]| Match {
        headers: headers.iter().map(|name| is(name, "1")).collect(),
        query: query.iter().map(|name| is(name, "1")).collect(),
        ..on
    };
    // Each wins over all below it.
    let order = [
        ("exact host", "a.example.com", prefix("/")),
        ("longer suffix", "*.example.com", prefix("/")),
        ("exact path", "*.com", exact("/a/b")),
        ("pattern", "*.com", pattern("/a/.")),
        ("long prefix of a method", "*.com", of_get(prefix("/a/b"))),
        ("long prefix with two fields", "*.com", with(prefix("/a/b"), &["x", "y"], &[])),
        ("long prefix with a field", "*.com", with(prefix("/a/b"), &["x"], &["p", "q"])),
        ("long prefix with two parameters", "*.com", with(prefix("/a/b/"), &[], &["p", "q"])),
        ("long prefix", "*.com", prefix("/a/b")),
        ("short prefix of a method", "*.com", of_get(with(prefix("/a"), &["x", "y"], &["p"]))),
        ("short prefix", "*.com", prefix("/a/")),
        ("all", "*.com", prefix("/")),
        ("any host", "", exact("/a/b")),
    ];
    let asked = Asked {
        host: "A.example.com:8080",
        path: "/a/b",
        query: "p=1&q=1",
        headers: &[("x", "1"), ("y", "1")],
        ..PLAIN
    };
    for first in 0..order.len() {
        let mut entries: Vec<_> =
            order[first..].iter().map(|(name, host, on)| entry(name, host, on.clone())).collect();
        assert_eq!(rule_at(&port(entries.clone()), &asked), Some(order[first].0));
        entries.reverse();
        assert_eq!(rule_at(&port(entries), &asked), Some(order[first].0));
    }
}

#[test]
fn of_equals_the_first_wins() {
    let entries = vec![entry("old", "h", prefix("/a")), entry("new", "h", prefix("/a/"))];
    assert_eq!(rule_at(&port(entries), &Asked { path: "/a/x", ..PLAIN }), Some("old"));
}

#[test]
fn the_most_specific_listener_decides_alone() {
    let listener = |host: &str, entries| Listener::new(HostMatch::parse(host), entries);
    let port = Port::new(vec![
        listener("", vec![entry("any", "", prefix("/"))]),
        listener(
            "*.example.com",
            vec![entry("below", "", prefix("/")), entry("deep", "a.b.example.com", prefix("/"))],
        ),
        listener("a.example.com", vec![entry("exact", "", prefix("/only"))]),
    ]);
    for (host, path, rule) in [
        ("a.example.com", "/only", Some("exact")),
        // Whatever others serve there.
        ("a.example.com", "/", None),
        ("b.example.com", "/only", Some("below")),
        ("a.b.example.com", "/", Some("deep")),
        ("example.com", "/", Some("any")),
        ("", "/", Some("any")),
    ] {
        assert_eq!(rule_at(&port, &Asked { host, path, ..PLAIN }), rule, "{host}{path}");
    }
}

#[test]
fn prefixes_go_by_path_elements() {
    for (prefix, path, rest) in [
        ("/a", "/a", Some("")),
        ("/a", "/a/", Some("/")),
        ("/a", "/a/b", Some("/b")),
        ("/a/", "/a", Some("")),
        ("/a/", "/a/b", Some("/b")),
        ("/a", "/ab", None),
        ("/a/b", "/a", None),
        ("/", "/", Some("/")),
        ("/", "/x", Some("/x")),
        ("/A", "/a", None),
    ] {
        assert_eq!(below(prefix, path), rest, "{path} below {prefix}");
    }
}

#[test]
fn patterns_match_whole_texts_in_which_nothing_escapes() {
    let matches = |text: &str, path: &str| {
        rule_at(&port(vec![entry("r", "", pattern(text))]), &Asked { path, ..PLAIN }).is_some()
    };
    assert!(matches("/a|/b", "/b") && !matches("/a|/b", "/bc") && !matches("/b", "/a/b"));
    for broken in ["(", "a)|(b", "[", "(?=a)", "a{99999}{99999}"] {
        assert!(Pattern::new(broken).is_err(), "{broken}");
    }
}

#[test]
fn all_conditions_of_a_match_must_hold() {
    let on = Match {
        path: PathMatch::Prefix("/a".to_owned()),
        method: Some("POST".to_owned()),
        headers: vec![is("x-a", "1"), ("x-b".to_owned(), ValueMatch::Regex(Pattern::new("[0-9]+").unwrap()))],
        query: vec![is("q", "a b"), ("r".to_owned(), ValueMatch::Regex(Pattern::new("x.*").unwrap()))],
    };
    let port = port(vec![entry("r", "", on)]);
    let good = Asked {
        path: "/a",
        method: "POST",
        query: "q=a%20b&r=xyz",
        headers: &[("x-a", "1"), ("x-b", "12")],
        ..PLAIN
    };
    assert_eq!(rule_at(&port, &good), Some("r"));
    for bad in [
        Asked { path: "/b", ..good },
        Asked { method: "post", ..good },
        Asked { query: "q=a%20b", ..good },
        Asked { query: "q=ab&r=x", ..good },
        Asked { query: "", ..good },
        Asked { headers: &[("x-a", "1")], ..good },
        Asked { headers: &[("x-a", "1"), ("x-b", "12a")], ..good },
        Asked { headers: &[("x-a", "2"), ("x-b", "12")], ..good },
    ] {
        assert_eq!(rule_at(&port, &bad), None, "{bad:?}");
    }
}

#[test]
fn query_parameters_are_decoded_and_the_first_of_a_name_counts() {
    let has = |name: &str, value: &str, query: &str| {
        let on = Match { query: vec![is(name, value)], ..Match::default() };
        rule_at(&port(vec![entry("r", "", on)]), &Asked { query, ..PLAIN }).is_some()
    };
    for (name, value, query) in [
        ("a", "1", "a=1"),
        ("a", "1", "b=2&a=1&a=2"),
        ("a", "", "a"),
        ("a", "", "a="),
        ("a", "b=c", "a=b=c"),
        ("a b", "c d", "a+b=c%20d"),
        ("é", "ü", "%C3%A9=%c3%bc"),
        ("a", "100%", "a=100%"),
        ("a", "%zz", "a=%zz"),
        ("a", "%2", "a=%2"),
    ] {
        assert!(has(name, value, query), "{query}");
    }
    for (name, value, query) in
        [("a", "2", "a=1&a=2"), ("a", "1", "A=1"), ("a", "1", ""), ("a", "", ""), ("a", "+", "a=+")]
    {
        assert!(!has(name, value, query), "{query}");
    }
}

#[test]
fn hosts_are_compared_by_name() {
    for (field, name) in [
        ("example.com", "example.com"),
        ("Example.COM:8080", "example.com"),
        ("[::1]:8080", "::1"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("", ""),
    ] {
        assert_eq!(host_name(field), name);
    }
    for (one, other, both) in [
        ("a.example.com", "*.example.com", Some("a.example.com")),
        ("*.example.com", "*.com", Some("*.example.com")),
        ("", "*.com", Some("*.com")),
        ("", "", Some("*")),
        ("a.com", "A.COM", Some("a.com")),
        ("example.com", "*.example.com", None),
        ("*.example.com", "*.example.org", None),
        ("a.com", "b.com", None),
        ("*.a.com", "*.ba.com", None),
    ] {
        let (one, other) = (HostMatch::parse(one), HostMatch::parse(other));
        let found = one.intersection(&other);
        assert_eq!(found.as_ref().map(ToString::to_string).as_deref(), both, "{one} and {other}");
        assert_eq!(other.intersection(&one), found);
    }
}

#[test]
fn shares_are_drawn_by_weight() {
    let share = |weight| Share { weight, to: Ok(backend()) };
    let shares = [share(0), share(3), share(0), share(1), share(0)];
    let place = |roll| {
        let drawn = draw(&shares, roll).unwrap();
        shares.iter().position(|share| std::ptr::eq(share, drawn)).unwrap()
    };
    assert_eq!([0, 1, 2, 3, 4, u64::MAX].map(place), [1, 1, 1, 3, 1, 3]);
    assert!(draw(&[], 7).is_none() && draw(&[share(0)], 7).is_none());
    assert!(draw(&[share(u32::MAX), share(u32::MAX)], u64::MAX).is_some());

    let mut rule = Rule::to("r", backend());
    assert!(rule.backend(9).is_ok());
    rule.answer = Answer::Backends(vec![Share { weight: 1, to: Err("gone".into()) }, share(0)]);
    assert_eq!(rule.backend(9), Err("gone"));
    assert!(rule.leads_to(&"b".into()).is_some(), "with or without weight");
    assert!(rule.leads_to(&"c".into()).is_none());
    rule.answer = Answer::Unsupported("no".into());
    assert_eq!((rule.backend(9), rule.leads_to(&"b".into())), (Err("no"), None));
}

#[test]
fn paths_are_rewritten() {
    let prefix =
        |matched: &str, by: &str| PathEdit::Prefix { matched: matched.to_owned(), by: by.to_owned() };
    for (edit, path, new) in [
        (PathEdit::Full("/x".to_owned()), "/a/b", "/x"),
        (prefix("/a", "/x"), "/a/b", "/x/b"),
        (prefix("/a", "/x"), "/a", "/x"),
        (prefix("/a", "/x/"), "/a/", "/x/"),
        (prefix("/a/", "/"), "/a/b", "/b"),
        (prefix("/a", "/"), "/a", "/"),
        (prefix("/a", ""), "/a", "/"),
        (prefix("/", "/x"), "/a", "/x/a"),
    ] {
        assert_eq!(edit.apply(path), new, "{edit:?} of {path}");
    }
}

#[test]
fn of_edits_what_is_removed_stays_away() {
    let pairs = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), "1".to_owned())).collect();
    let edits = HeaderEdits {
        set: pairs(&["set", "both"]),
        add: pairs(&["add", "set"]),
        remove: vec!["both".to_owned(), "gone".to_owned()],
    };
    let added: Vec<_> = edits.added().map(|(name, _)| name).collect();
    assert_eq!(added, ["set", "add", "set"]);
    assert_eq!(
        ["set", "Both", "gone", "add", "other"].map(|name| edits.keeps(name)),
        [false, false, false, true, true]
    );
}

fn any_match() -> impl Strategy<Value = (usize, Match)> {
    let paths = prop_oneof![
        "(/[ab]){0,3}/?".prop_map(PathMatch::Prefix),
        "(/[ab]){1,3}".prop_map(PathMatch::Exact),
        Just(PathMatch::Regex(Pattern::new("/a.*").unwrap())),
    ];
    let names = |letters: &'static str| prop::collection::vec(letters, 0..3);
    (0..4usize, paths, prop::option::of("GET|POST"), names("[xy]"), names("[pq]")).prop_map(
        |(host, path, method, headers, query)| {
            let all = |names: Vec<String>| names.iter().map(|name| is(name, "1")).collect();
            (host, Match { path, method, headers: all(headers), query: all(query) })
        },
    )
}

proptest! {
    /// Which of several rules wins depends on what they say alone, but for those that say equally much.
    #[test]
    fn the_order_of_rules_makes_no_difference(
        matches in prop::collection::vec(any_match(), 1..12).prop_shuffle(),
        order in any::<u64>(),
        path in "(/[ab]){0,3}",
    ) {
        let hosts = ["a.example.com", "*.example.com", "*.com", ""];
        let mut entries: Vec<Entry> = Vec::new();
        for (number, (host, on)) in matches.into_iter().enumerate() {
            let same = |known: &Entry| {
                known.host == HostMatch::parse(hosts[host]) && known.on.precedence().eq(&on.precedence())
            };
            if !entries.iter().any(same) {
                entries.push(entry(&number.to_string(), hosts[host], on));
            }
        }
        let mut others = entries.clone();
        for at in (1..others.len()).rev() {
            others.swap(at, (order.rotate_left(at as u32) % (at as u64 + 1)) as usize);
        }
        let (one, other) = (port(entries), port(others));
        for host in ["a.example.com", "b.example.com", "x.com", "h"] {
            for method in ["GET", "POST"] {
                let asked = Asked {
                    host, path: &path, method, query: "p=1&q=1", headers: &[("x", "1"), ("y", "1")],
                };
                prop_assert_eq!(rule_at(&one, &asked), rule_at(&other, &asked));
            }
        }
    }
}
