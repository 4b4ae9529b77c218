//! Manifests in files.

use k8s_adapter::manifests::read;
use k8s_adapter::objects::Objects;

/// The names of what was read, what was noted, and what is wrong.
fn reading(text: &str) -> (Vec<String>, Vec<String>, Vec<String>) {
    let mut objects = Objects::default();
    let (notes, problems) = match read("f.yaml", text, &mut objects) {
        Ok(notes) => (notes, Vec::new()),
        Err(problems) => (Vec::new(), problems),
    };
    (objects.services.keys().map(ToString::to_string).collect(), notes, problems)
}

fn none() -> Vec<String> {
    Vec::new()
}

#[test]
fn documents_lists_and_json_are_read() {
    let service = |name: &str| {
        format!("{{\"apiVersion\": \"v1\", \"kind\": \"Service\", \"metadata\": {{\"name\": \"{name}\"}}}}")
    };
    let (a, b) = (service("a"), service("b"));
    let both = vec!["default/a".to_owned(), "default/b".to_owned()];
    for text in [
        format!("{a}\n---\n{b}\n"),
        format!("---\n{a}\n---\n---\n# nothing\n---\n{b}\n...\n"),
        format!("{{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{a}, {b}]}}"),
        format!("kind: ServiceList\napiVersion: v1\nitems:\n- {a}\n- {b}\n"),
    ] {
        assert_eq!(reading(&text), (both.clone(), none(), none()), "{text}");
    }
    for text in ["", "# nothing\n", "---\n", "kind: List\n", "kind: List\nitems: null\n"] {
        assert_eq!(reading(text), (none(), none(), none()), "{text}");
    }
}

#[test]
fn other_kinds_are_skipped_with_a_note() {
    let text = "\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: d\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\n";
    let notes = [
        "f.yaml:2: Deployment d (apps/v1) is skipped: it has no meaning here",
        "f.yaml:7: Secret s (v1) is skipped: it has no meaning here",
    ];
    assert_eq!(reading(text), (none(), notes.map(str::to_owned).to_vec(), none()));
}

#[test]
fn the_later_of_two_with_one_name_stands() {
    let text = "{apiVersion: v1, kind: Service, metadata: {name: a}}\n---\n{apiVersion: v1, kind: Service, metadata: {name: a}}\n";
    let note = "f.yaml:3: Service a replaces one of the same name".to_owned();
    assert_eq!(reading(text), (vec!["default/a".to_owned()], vec![note], none()));
}

#[test]
fn all_that_is_wrong_is_told_with_its_line() {
    let text = "{apiVersion: v1, kind: Service, metadata: {}}\n---\njust text\n---\n\n{apiVersion: v1, kind: Service, metadata: {name: b}, spec: 3}\n\
                ---\n{apiVersion: v1, kind: Service, metadata: {name: good}}\n";
    let (read, _, problems) = reading(text);
    assert_eq!(read, ["default/good"]);
    assert_eq!(
        problems,
        [
            "f.yaml:1: Service: it has no `metadata.name`",
            "f.yaml:3: document: it has no `kind`: this is no Kubernetes object",
            "f.yaml:6: Service b: invalid type: integer `3`, expected struct ServiceSpec",
        ]
    );
    let (_, _, problems) = reading("a: 1\nb: [\n");
    assert!(problems[0].starts_with("f.yaml:"), "{problems:?}");
    assert_eq!(problems.len(), 1);
}

#[test]
fn words_stay_words() {
    let mut objects = Objects::default();
    let text = "{apiVersion: v1, kind: Service, metadata: {name: a, labels: {a: 'yes', b: off, c: \"1\"}}}";
    read("f.yaml", text, &mut objects).unwrap();
    let labels = &objects.services.values().next().unwrap().metadata.labels;
    assert_eq!(labels.values().collect::<Vec<_>>(), ["yes", "off", "1"]);
}
