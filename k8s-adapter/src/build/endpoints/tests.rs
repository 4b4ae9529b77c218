use super::*;
use serde_json::{Value, json};

const POD: &str = "5f0c0a7e-0000-4000-8000-000000000001";

fn slice(kind: &str, ports: Value, endpoints: Value) -> EndpointSlice {
    let value =
        json!({"metadata": {"name": "s"}, "addressType": kind, "ports": ports, "endpoints": endpoints});
    serde_json::from_value(value).unwrap()
}

/// What slices come to: `address state` each, and how many addresses there are. The port is 80, without name.
fn joined(slices: &[EndpointSlice], families: &[&str]) -> (Vec<String>, usize) {
    let slices: Vec<&EndpointSlice> = slices.iter().collect();
    let families: Vec<String> = families.iter().map(|family| (*family).to_owned()).collect();
    let reached = join(&slices, "", &families, None);
    let shown = |one: &Endpoint| format!("{} {:?}", one.address, one.serves);
    (reached.endpoints.iter().map(shown).collect(), reached.total)
}

fn v4(endpoints: Value) -> EndpointSlice {
    slice("IPv4", json!([{"name": "", "port": 80}]), endpoints)
}

#[test]
fn conditions_that_are_not_said_do_no_harm() {
    for (conditions, expected) in [
        (json!(null), Some("Ready")),
        (json!({}), Some("Ready")),
        (json!({"ready": null, "serving": null, "terminating": null}), Some("Ready")),
        (json!({"ready": true, "terminating": true}), Some("Ready")),
        (json!({"ready": false}), None),
        (json!({"ready": false, "serving": true}), None),
        (json!({"ready": false, "serving": true, "terminating": true}), Some("Draining")),
        (json!({"ready": false, "serving": false, "terminating": true}), Some("Draining")),
    ] {
        let slice = v4(json!([{"addresses": ["10.0.0.1"], "conditions": conditions}]));
        let expected: Vec<String> = expected.iter().map(|state| format!("10.0.0.1:80 {state}")).collect();
        assert_eq!(joined(&[slice], &[]), (expected, 1), "{conditions}");
    }
}

#[test]
fn only_the_first_address_counts_and_only_if_it_is_one() {
    let mixed = v4(json!([
        {"addresses": ["10.0.0.1", "10.0.0.2"]}, {"addresses": []}, {"addresses": null}, {"addresses": ["x"]},
        {"addresses": ["::1"]},
    ]));
    assert_eq!(joined(&[mixed], &[]), (vec!["10.0.0.1:80 Ready".to_owned()], 1));
    let zoned = slice_v6(json!([{"addresses": ["fe80::1%eth0"]}, {"addresses": ["fd00::1"]}]));
    assert_eq!(joined(&[zoned], &[]), (vec!["[fd00::1]:80 Ready".to_owned()], 1));
    let names = slice("FQDN", json!([{"name": "", "port": 80}]), json!([{"addresses": ["10.0.0.1"]}]));
    assert_eq!(joined(&[names], &[]), (vec![], 0));
}

fn slice_v6(endpoints: Value) -> EndpointSlice {
    slice("IPv6", json!([{"name": "", "port": 80}]), endpoints)
}

#[test]
fn the_port_is_found_by_name_and_its_number_is_the_slices() {
    let endpoints = json!([{"addresses": ["10.0.0.1"]}]);
    for (ports, expected) in [
        (json!([{"name": "", "port": 8080}]), Some(8080)),
        (json!([{"name": null, "port": 8080}]), Some(8080)),
        (json!([{"name": "a", "port": 1}, {"name": "", "port": 2}]), Some(2)),
        (json!([{"name": "a", "port": 1}]), None),
        (json!([{"name": "", "port": null}]), None),
        (json!([{"name": "", "port": 0}]), None),
        (json!([{"name": "", "port": 65536}]), None),
        (json!(null), None),
        (json!([]), None),
    ] {
        let slice = slice("IPv4", ports.clone(), endpoints.clone());
        let expected: Vec<String> = expected.iter().map(|port| format!("10.0.0.1:{port} Ready")).collect();
        assert_eq!(joined(&[slice], &[]).0, expected, "{ports}");
    }
    // A named target port may have another number in every slice.
    let slices = [1, 2].map(|n| {
        let endpoints = json!([{"addresses": [format!("10.0.0.{n}")]}]);
        slice("IPv4", json!([{"name": "", "port": 8000 + n}]), endpoints)
    });
    assert_eq!(joined(&slices, &[]).0, ["10.0.0.1:8001 Ready", "10.0.0.2:8002 Ready"]);
}

#[test]
fn an_endpoint_in_two_slices_is_one_and_ready_wins() {
    let of = |conditions: Value| v4(json!([{"addresses": ["10.0.0.1"], "conditions": conditions}]));
    let (gone, draining, ready) =
        (json!({"ready": false}), json!({"ready": false, "terminating": true}), json!({}));
    for (one, other, expected) in [
        (&gone, &ready, "10.0.0.1:80 Ready"),
        (&draining, &ready, "10.0.0.1:80 Ready"),
        (&gone, &draining, "10.0.0.1:80 Draining"),
    ] {
        for pair in [[one, other], [other, one]] {
            let slices = pair.map(|conditions| of(conditions.clone()));
            assert_eq!(joined(&slices, &[]), (vec![expected.to_owned()], 1));
        }
    }
}

#[test]
fn one_family_is_taken_alone() {
    let four = v4(json!([{"addresses": ["10.0.0.1"]}]));
    let six = slice_v6(json!([{"addresses": ["fd00::1"]}]));
    let six_draining =
        slice_v6(json!([{"addresses": ["fd00::1"], "conditions": {"ready": false, "terminating": true}}]));
    let four_draining =
        v4(json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": false, "terminating": true}}]));
    let both = |one: &EndpointSlice, other: &EndpointSlice| [one.clone(), other.clone()];
    for (slices, families, expected) in [
        (both(&four, &six), &["IPv4", "IPv6"][..], "10.0.0.1:80 Ready"),
        (both(&four, &six), &["IPv6", "IPv4"], "[fd00::1]:80 Ready"),
        (both(&four, &six), &[], "10.0.0.1:80 Ready"),
        (both(&four, &six), &["new"], "10.0.0.1:80 Ready"),
        (both(&four, &six_draining), &["IPv6", "IPv4"], "10.0.0.1:80 Ready"),
        (both(&four_draining, &six_draining), &["IPv6", "IPv4"], "[fd00::1]:80 Draining"),
        (both(&v4(json!(null)), &six), &["IPv4"], "[fd00::1]:80 Ready"),
    ] {
        assert_eq!(joined(&slices, families), (vec![expected.to_owned()], 1), "{families:?}");
    }
}

#[test]
fn an_endpoint_is_told_from_the_next_at_its_address() {
    let occupant = |uid: Value| {
        let slice = v4(json!([{"addresses": ["10.0.0.1"], "targetRef": uid}]));
        join(&[&slice], "", &[], None).endpoints[0].occupant
    };
    // The digest must not change from release to release: sessions are bound to it.
    assert_eq!(occupant(json!({"uid": POD})), 0x441f_d8ba_d188_1b1f);
    assert_ne!(occupant(json!({"uid": "other"})), occupant(json!({"uid": POD})));
    for nobody in [json!(null), json!({}), json!({"uid": ""}), json!({"uid": null})] {
        assert_eq!(occupant(nobody), 0);
    }
}

#[test]
fn hints_count_if_all_have_some_and_one_is_ours() {
    let near = |zone: Option<&str>, zones: &[&[&str]]| -> Vec<bool> {
        let endpoints: Vec<Value> = zones
            .iter()
            .enumerate()
            .map(|(n, zones)| {
                let zones: Vec<Value> = zones.iter().map(|zone| json!({"name": zone})).collect();
                json!({"addresses": [format!("10.0.0.{n}")], "hints": {"forZones": zones}})
            })
            .collect();
        let slice = v4(Value::Array(endpoints));
        join(&[&slice], "", &[], zone).endpoints.iter().map(|endpoint| endpoint.near).collect()
    };
    assert_eq!(near(Some("a"), &[&["a"], &["b"], &["a", "b"]]), [true, false, true]);
    assert_eq!(near(Some("c"), &[&["a"], &["b"]]), [false, false]);
    assert_eq!(near(Some("a"), &[&["a"], &[]]), [false, false]);
    assert_eq!(near(None, &[&["a"], &["b"]]), [false, false]);
    // One that drains need not have hints.
    let draining = json!({"addresses": ["10.0.0.1"], "conditions": {"ready": false, "terminating": true}});
    let ready = json!({"addresses": ["10.0.0.2"], "hints": {"forZones": [{"name": "a"}]}});
    let slice = v4(json!([draining, ready]));
    let near: Vec<bool> = join(&[&slice], "", &[], Some("a")).endpoints.iter().map(|one| one.near).collect();
    assert_eq!(near, [false, true]);
}
