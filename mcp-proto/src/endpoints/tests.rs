use super::*;
use proptest::prelude::*;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;

fn rng() -> ChaCha12Rng {
    ChaCha12Rng::from_seed([1; 32])
}

#[expect(clippy::disallowed_methods, reason = "a test begins at some time or other")]
fn start() -> Instant {
    Instant::now()
}

fn at(number: u8) -> Endpoint {
    Endpoint { occupant: number.into(), ..Endpoint::from(SocketAddr::from(([10, 0, 0, number], 80))) }
}

fn near(number: u8) -> Endpoint {
    Endpoint { near: true, ..at(number) }
}

fn draining(number: u8) -> Endpoint {
    Endpoint { serves: Serves::Draining, ..at(number) }
}

fn id(number: u8) -> EndpointId {
    EndpointId::from(&at(number))
}

fn conn(index: u32) -> ConnId {
    ConnId { index, generation: 0 }
}

fn all(listed: &[Endpoint]) -> Endpoints {
    let mut endpoints = Endpoints::default();
    endpoints.follow(listed);
    endpoints
}

/// The numbers of those that are chosen, one after the other, each with a request that does not end.
fn chosen(endpoints: &mut Endpoints, times: usize, now: Instant) -> Vec<u8> {
    let mut rng = rng();
    let mut chosen = Vec::new();
    for _ in 0..times {
        let index = endpoints.choose(&[], now, &mut rng).unwrap();
        let id = endpoints.id(index).unwrap();
        endpoints.opened(id);
        chosen.push(id.occupant as u8);
    }
    chosen
}

const REFUSED: Trouble = Trouble::Connect(crate::Fault::Refused);

#[test]
fn a_snapshot_is_followed_in_its_order_and_each_endpoint_is_there_once() {
    let mut endpoints = all(&[at(3), near(1), at(1), at(2)]);
    let order = |endpoints: &Endpoints| -> Vec<Endpoint> {
        endpoints.entries.iter().map(|entry| entry.endpoint).collect()
    };
    assert_eq!(order(&endpoints), [at(3), near(1), at(2)]);
    let followed = endpoints.follow(&[at(4), at(2), draining(3), at(2)]);
    assert_eq!(followed, Followed { stale: vec![], joined: true, left: true });
    assert_eq!(order(&endpoints), [draining(3), at(2), at(4)]);
    assert_eq!(endpoints.follow(&[at(4), at(2), draining(3)]), Followed::default());
}

/// As many as a big Service has: this is done on the thread that answers calls, so it must not compare all with all.
#[test]
fn many_endpoints_are_followed() {
    let at = |number: u32| Endpoint::from(SocketAddr::from((number.to_be_bytes(), 80)));
    let mut listed: Vec<Endpoint> = (0..50_000).map(at).collect();
    let mut endpoints = all(&listed);
    listed[7] = at(60_000);
    assert_eq!(endpoints.follow(&listed), Followed { stale: vec![], joined: true, left: true });
    assert_eq!(endpoints.count(), 50_000);
}

/// Each shard has all of them: 100,000 are 10 MB.
#[test]
fn an_endpoint_takes_little_memory() {
    assert!(size_of::<Entry>() <= 104, "{} bytes", size_of::<Entry>());
    assert_eq!(all(&[at(1), at(2), at(3)]).entries.capacity(), 3);
}

#[test]
fn the_less_busy_of_two_is_chosen() {
    let mut endpoints = all(&[at(1), at(2), at(3), at(4)]);
    let order = chosen(&mut endpoints, 400, start());
    let count = |number| order.iter().filter(|chosen| **chosen == number).count();
    // By chance alone they would be some ten apart.
    assert_eq!([1, 2, 3, 4].map(count), [100, 100, 100, 100]);
    assert_ne!(order[..4], [1, 2, 3, 4], "not in turn");
}

#[test]
fn an_idle_connection_is_no_load() {
    let mut endpoints = all(&[at(1), at(2)]);
    for number in 0..3 {
        endpoints.opened(id(1));
        endpoints.add_idle(id(1), conn(number));
    }
    endpoints.opened(id(2));
    let mut rng = rng();
    for _ in 0..20 {
        assert_eq!(endpoints.choose(&[], start(), &mut rng), Ok(0));
    }
}

#[test]
fn one_candidate_costs_no_draw() {
    let mut drawn = rng();
    let endpoints = all(&[near(1), at(2), draining(3)]);
    assert_eq!(endpoints.choose(&[], start(), &mut drawn), Ok(0));
    assert_eq!(drawn.next_u64(), rng().next_u64());
}

#[test]
fn near_ones_come_first_then_ready_ones_then_those_that_drain() {
    let now = start();
    let mut endpoints = all(&[at(1), at(2), near(3), near(4), draining(5)]);
    let seen = |endpoints: &mut Endpoints| {
        let mut seen = chosen(endpoints, 20, now);
        seen.sort_unstable();
        seen.dedup();
        seen
    };
    assert_eq!(seen(&mut endpoints), [3, 4]);
    endpoints.unreachable(id(3), now, &REFUSED);
    assert_eq!(seen(&mut endpoints), [4]);
    endpoints.unreachable(id(4), now, &REFUSED);
    assert_eq!(seen(&mut endpoints), [1, 2]);
    let near_and_draining = Endpoint { near: true, ..draining(5) };
    endpoints.follow(&[near_and_draining, draining(6)]);
    assert_eq!(seen(&mut endpoints), [5, 6]);
    endpoints.follow(&[near_and_draining, draining(6), at(7)]);
    assert_eq!(seen(&mut endpoints), [7]);
}

#[test]
fn rests_grow_and_end_with_a_good_answer() {
    let mut now = start();
    let mut endpoints = all(&[at(1), at(2)]);
    for seconds in [1, 2, 4, 8, 16, 30, 30] {
        assert!(endpoints.unreachable(id(1), now, &REFUSED));
        assert!(!endpoints.unreachable(id(1), now, &REFUSED), "one of several requests that found it so");
        let before = now + Duration::from_secs(seconds) - Duration::from_millis(1);
        assert_eq!(chosen(&mut endpoints, 4, before), [2; 4]);
        now += Duration::from_secs(seconds);
        assert!(chosen(&mut endpoints, 400, now).contains(&1));
    }
    endpoints.unreachable(id(1), now, &REFUSED);
    endpoints.reached(id(1));
    assert!(chosen(&mut endpoints, 900, now).contains(&1), "a connection is enough to be tried");
    endpoints.unreachable(id(1), now, &REFUSED);
    now += Duration::from_secs(2);
    assert_eq!(chosen(&mut endpoints, 4, now), [2; 4], "but not to be trusted");
    endpoints.heard(id(1), 200, now);
    assert!(endpoints.unreachable(id(1), now, &REFUSED));
    now += Duration::from_secs(1);
    assert!(chosen(&mut endpoints, 900, now).contains(&1));
}

#[test]
fn five_broken_requests_in_a_row_are_a_reason_to_rest() {
    let now = start();
    let mut endpoints = all(&[at(1), at(2)]);
    let lost = Trouble::Lost(crate::Fault::Reset);
    let broken = |endpoints: &mut Endpoints, count: usize| {
        (0..count).map(|_| endpoints.broke(id(1), now, &lost)).collect::<Vec<_>>()
    };
    assert_eq!(broken(&mut endpoints, 4), [false; 4]);
    assert!(!endpoints.heard(id(1), 404, now));
    assert_eq!(broken(&mut endpoints, 4), [false; 4]);
    assert!(endpoints.heard(id(1), 503, now));
    assert!(!endpoints.heard(id(1), 502, now), "it rests already");
    assert_eq!(chosen(&mut endpoints, 4, now), [2; 4]);
}

#[test]
fn when_all_rest_one_that_answers_is_asked_and_others_once_a_second() {
    let mut now = start();
    let mut endpoints = all(&[at(1), at(2)]);
    let reason = Err(Trouble::Recently(REFUSED.to_string().into()));
    for _ in 0..8 {
        for number in [1, 2] {
            endpoints.unreachable(id(number), now, &REFUSED);
        }
        assert_eq!(endpoints.choose(&[], now, &mut rng()), reason);
        now += Duration::from_millis(999);
        assert_eq!(endpoints.choose(&[], now, &mut rng()), reason);
        now += Duration::from_millis(1);
        assert!(endpoints.choose(&[], now, &mut rng()).is_ok());
        assert_eq!(endpoints.choose(&[id(2)], now, &mut rng()), Ok(0));
        assert_eq!(endpoints.choose(&[id(1)], now, &mut rng()), Ok(1));
        assert_eq!(endpoints.choose(&[id(1), id(2)], now, &mut rng()), reason, "once round");
    }
    // A connection that is open tells that somebody is there.
    endpoints.unreachable(id(1), now, &REFUSED);
    endpoints.unreachable(id(2), now, &REFUSED);
    endpoints.opened(id(2));
    assert_eq!(endpoints.choose(&[], now, &mut rng()), Ok(1));
    let mut endpoints = all(&[at(1)]);
    for _ in 0..BREAKS {
        endpoints.heard(id(1), 503, now);
    }
    assert_eq!(endpoints.choose(&[], now, &mut rng()), Ok(0));
    assert_eq!(all(&[]).choose(&[], now, &mut rng()), Err(Trouble::Nowhere));
}

#[test]
fn a_session_keeps_its_endpoint_or_is_lost_with_it() {
    let now = start();
    let mut endpoints = all(&[at(1), draining(2), near(3)]);
    let keep = |endpoints: &Endpoints, number| endpoints.keep(id(number), &[], now);
    assert_eq!((keep(&endpoints, 1), keep(&endpoints, 2)), (Ok(Some(0)), Ok(Some(1))));
    let stranger = EndpointId { occupant: 9, ..id(1) };
    assert_eq!(endpoints.keep(stranger, &[], now), Err(Astray::Lost));
    let nameless = EndpointId { occupant: 0, ..id(8) };
    assert_eq!(endpoints.keep(nameless, &[], now), Ok(None), "its server may stand behind the others");
    // That it breaks requests is no reason to give a session up; that it can't be reached is, if another can.
    for _ in 0..BREAKS {
        endpoints.heard(id(1), 503, now);
    }
    assert_eq!(keep(&endpoints, 1), Ok(Some(0)));
    endpoints.unreachable(id(2), now, &REFUSED);
    assert_eq!(keep(&endpoints, 2), Err(Astray::Lost));
    endpoints.follow(&[draining(2)]);
    let stuck = Err(Astray::Stuck(Trouble::Recently(REFUSED.to_string().into())));
    assert_eq!(keep(&endpoints, 2), stuck, "there is no other: it waits");
    let later = now + REST;
    assert_eq!(endpoints.keep(id(2), &[], later), Ok(Some(0)));
    assert_eq!(endpoints.keep(id(2), &[id(2)], later), stuck);
    endpoints.follow(&[]);
    assert_eq!(endpoints.keep(id(2), &[], later), Err(Astray::Stuck(Trouble::Nowhere)), "it may come back");
}

#[test]
fn a_snapshot_is_followed() {
    let mut endpoints = all(&[at(1), at(2)]);
    for number in [1, 2] {
        endpoints.opened(id(number));
        endpoints.add_idle(id(number), conn(number.into()));
    }
    endpoints.opened(id(1));
    let same = endpoints.follow(&[draining(2), near(1)]);
    assert_eq!(same, Followed::default());
    let reused = Endpoint { occupant: 9, ..at(1) };
    let followed = endpoints.follow(&[reused, at(2)]);
    assert_eq!(followed, Followed { stale: vec![conn(1)], joined: true, left: true });
    endpoints.closed(id(1), conn(1));
    assert!(endpoints.position(id(1)).is_some(), "a request is under way there");
    assert!(!endpoints.lists(id(1)));
    endpoints.closed(id(1), conn(7));
    assert_eq!((endpoints.position(id(1)), endpoints.count(), endpoints.idle()), (None, 2, 1));
}

#[test]
fn what_a_session_remembers_is_nothing_where_there_is_nothing_to_choose() {
    let nameless = Endpoint { occupant: 0, ..at(1) };
    let memory = |listed: &[Endpoint]| all(listed).memory(EndpointId::from(&listed[0]));
    assert_eq!(memory(&[nameless]), None);
    assert_eq!(memory(&[nameless, at(2)]), Some(EndpointId::from(&nameless)));
    assert_eq!(memory(&[at(1)]), Some(id(1)));
}

proptest! {
    #[test]
    fn two_different_ones_are_drawn(seed: [u8; 32], many in 2usize..50) {
        let mut rng = ChaCha12Rng::from_seed(seed);
        let [first, second] = pair(&mut rng, many);
        prop_assert!(first != second && first < many && second < many);
    }

    #[test]
    fn every_pair_is_as_likely(seed: [u8; 32]) {
        let mut rng = ChaCha12Rng::from_seed(seed);
        let mut counts = [[0u32; 4]; 4];
        for _ in 0..6_000 {
            let [first, second] = pair(&mut rng, 4);
            counts[first][second] += 1;
        }
        let drawn = counts.iter().flatten().filter(|count| **count > 0);
        prop_assert_eq!(drawn.clone().count(), 12);
        prop_assert!(drawn.clone().all(|count| (350..650).contains(count)), "{:?}", counts);
    }
}
