//! How a judge is entered and left: events and answers as the canonical ABI lays them
//! out in memory.
//!
//! By hand, since a call that passes spent five times as long in generated code as in
//! the judge, and because an answer's memory is given back by the next call: no call
//! of a plugin is followed by one that cleans up. It knows no kind's rules and no
//! settings.

#![expect(unsafe_code, reason = "the host writes events to memory and reads answers from it")]

use std::alloc::Layout;
use std::cell::UnsafeCell;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::bindings::types::{Keep, Kept};
use crate::event::{Attempt, Attribute, Outcome, Request};
use crate::verdict::{BanOrder, Reason, WaitOrder, to_ms};

/// A string or a list: where it starts, and how many elements it has.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct List {
    start: *mut u8,
    len: usize,
}

/// An `option`, and every variant of which one case alone holds something.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Case<T: Copy> {
    case: u8,
    value: MaybeUninit<T>,
}

impl<T: Copy> Case<T> {
    const NONE: Self = Self { case: 0, value: MaybeUninit::uninit() };

    const fn holding(case: u8, value: T) -> Self {
        Self { case, value: MaybeUninit::new(value) }
    }

    /// The value of an `option`; the host has written it if it says so.
    #[inline(always)]
    unsafe fn get(&self) -> Option<T> {
        // SAFETY: case 1 of an option holds a value, by the caller's promise.
        (self.case == 1).then(|| unsafe { self.value.assume_init() })
    }
}

impl<T: Copy> From<Option<T>> for Case<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::NONE, |value| Self::holding(1, value))
    }
}

/// IPv4 has the first part alone.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Address {
    case: u8,
    parts: [MaybeUninit<u32>; 4],
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct WireAttribute {
    name: List,
    value: List,
}

/// `record attempt`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct WireAttempt {
    at: u64,
    source: Address,
    client_auth_id: Case<List>,
    outcome: u8,
    client_known: Case<u8>,
    secret_fingerprint: Case<u32>,
    attributes: List,
}

/// `record request`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct WireRequest {
    at: u64,
    source: Address,
    client_auth_id: Case<List>,
    method: List,
    path: List,
    status: u16,
    attributes: List,
}

/// What `judge` is called with.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Arguments<E> {
    event: E,
    state: Case<List>,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct WireReason {
    code: List,
    text: List,
}

/// `record wait-order`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct WireWaitOrder {
    duration: u64,
    reason: WireReason,
}

/// `record ban-order`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct WireBanOrder {
    duration: u64,
    prefix_length: Case<u8>,
    reason: WireReason,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct WireKept {
    data: List,
    ttl: Case<u64>,
}

/// `record wait-judgement` and `record ban-judgement`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Judgement<O: Copy> {
    verdict: Case<O>,
    keep: Case<WireKept>,
}

/// `result<…-judgement, string>`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Answer<O: Copy> {
    case: u8,
    value: Either<O>,
}

#[repr(C)]
#[derive(Clone, Copy)]
union Either<O: Copy> {
    judgement: Judgement<O>,
    error: List,
}

#[cfg(target_arch = "wasm32")]
const _: () = {
    // As the canonical ABI has them; a record's fields follow each other as in C.
    use std::mem::offset_of;

    assert!(size_of::<WireRequest>() == 72 && offset_of!(WireRequest, at) == 0 && offset_of!(WireRequest, source) == 8);
    assert!(offset_of!(WireRequest, client_auth_id) == 28 && offset_of!(WireRequest, method) == 40);
    assert!(offset_of!(WireRequest, path) == 48 && offset_of!(WireRequest, status) == 56);
    assert!(offset_of!(WireRequest, attributes) == 60);
    assert!(size_of::<WireAttempt>() == 64 && offset_of!(WireAttempt, at) == 0 && offset_of!(WireAttempt, source) == 8);
    assert!(offset_of!(WireAttempt, client_auth_id) == 28 && offset_of!(WireAttempt, outcome) == 40);
    assert!(offset_of!(WireAttempt, client_known) == 41 && offset_of!(WireAttempt, secret_fingerprint) == 44);
    assert!(offset_of!(WireAttempt, attributes) == 52);
    assert!(size_of::<Arguments<WireRequest>>() == 88 && offset_of!(Arguments<WireRequest>, state) == 72);
    assert!(size_of::<Arguments<WireAttempt>>() == 80 && offset_of!(Arguments<WireAttempt>, state) == 64);
    assert!(offset_of!(Judgement<WireBanOrder>, keep) == 40 && offset_of!(Judgement<WireWaitOrder>, keep) == 32);
    assert!(size_of::<Answer<WireBanOrder>>() == 80 && size_of::<Answer<WireWaitOrder>>() == 72);
    assert!(offset_of!(Answer<WireBanOrder>, value) == 8 && offset_of!(Answer<WireWaitOrder>, value) == 8);
};

/// Gives back what `cabi_realloc` handed out: nothing for no bytes.
#[inline(always)]
unsafe fn give(block: *mut u8, bytes: usize, align: usize) {
    if bytes == 0 {
        return;
    }
    // SAFETY: it was allocated under this layout, which was a valid one then.
    unsafe { memory::dealloc(block, Layout::from_size_align_unchecked(bytes, align)) };
}

/// The host asks for memory for each part of an event by this.
#[cfg(target_arch = "wasm32")]
#[unsafe(export_name = "cabi_realloc")]
unsafe extern "C" fn cabi_realloc(old: *mut u8, old_bytes: usize, align: usize, bytes: usize) -> *mut u8 {
    // SAFETY: the canonical ABI hands a power of two as alignment, a size that memory
    // can have, and only what it was given here before.
    let block = unsafe {
        if old_bytes != 0 {
            std::alloc::realloc(old, Layout::from_size_align_unchecked(old_bytes, align), bytes)
        } else if bytes == 0 {
            std::ptr::without_provenance_mut(align)
        } else {
            memory::alloc(Layout::from_size_align_unchecked(bytes, align))
        }
    };
    if block.is_null() {
        // The host refused more memory: nothing can go on without the event.
        core::arch::wasm32::unreachable();
    }
    block
}

/// The guest's own allocator by its name: it is entered without a detour.
#[cfg(all(target_arch = "wasm32", not(target_feature = "atomics"), feature = "allocator"))]
mod memory {
    use std::alloc::Layout;

    use crate::allocator::GLOBAL;

    #[inline(always)]
    pub(super) unsafe fn alloc(layout: Layout) -> *mut u8 {
        GLOBAL.alloc_in_place(layout)
    }

    #[inline(always)]
    pub(super) unsafe fn dealloc(block: *mut u8, layout: Layout) {
        // SAFETY: by the caller's promise.
        unsafe { GLOBAL.dealloc_in_place(block, layout) };
    }
}

#[cfg(not(all(target_arch = "wasm32", not(target_feature = "atomics"), feature = "allocator")))]
use std::alloc as memory;

/// An event as it is handed over.
pub(crate) trait Wire: Copy {
    /// As an author sees it.
    type Event;

    /// The event, in the memory that the host wrote it to.
    ///
    /// # Safety
    /// The host has written it, and nobody else takes it up.
    unsafe fn event(&self) -> Self::Event;

    /// Gives the event's memory back.
    ///
    /// # Safety
    /// The event was taken up in that memory, and isn't used any more.
    unsafe fn give_back(&self, event: ManuallyDrop<Self::Event>);
}

impl Wire for WireRequest {
    type Event = Request;

    #[inline(always)]
    unsafe fn event(&self) -> Request {
        // SAFETY: by the caller's promise.
        unsafe {
            Request {
                at_ms: self.at,
                source: self.source.get(),
                client_auth_id: self.client_auth_id.get().map(|id| id.string()),
                method: self.method.string(),
                path: self.path.string(),
                status: self.status,
                attributes: attributes(self.attributes),
            }
        }
    }

    #[inline(always)]
    unsafe fn give_back(&self, mut event: ManuallyDrop<Request>) {
        // SAFETY: an author had the event behind a shared reference, so its texts are
        // where they were. What is seldom there goes the long way.
        unsafe {
            self.method.give_back();
            self.path.give_back();
            if event.client_auth_id.is_some() || !event.attributes.is_empty() {
                drop((event.client_auth_id.take(), std::mem::take(&mut event.attributes)));
            }
        }
    }
}

impl Wire for WireAttempt {
    type Event = Attempt;

    #[inline(always)]
    unsafe fn event(&self) -> Attempt {
        // SAFETY: by the caller's promise.
        unsafe {
            Attempt {
                at_ms: self.at,
                source: self.source.get(),
                client_auth_id: self.client_auth_id.get().map(|id| id.string()),
                outcome: if self.outcome == 0 { Outcome::Failure } else { Outcome::Success },
                client_known: self.client_known.get().map(|known| known != 0),
                secret_fingerprint: self.secret_fingerprint.get(),
                attributes: attributes(self.attributes),
            }
        }
    }

    #[inline(always)]
    unsafe fn give_back(&self, event: ManuallyDrop<Attempt>) {
        drop(ManuallyDrop::into_inner(event));
    }
}

impl Address {
    #[inline(always)]
    unsafe fn get(&self) -> IpAddr {
        // SAFETY: the host has written as many parts as the case says.
        let part = |index: usize| unsafe { self.parts[index].assume_init() };
        if self.case == 0 {
            return IpAddr::V4(Ipv4Addr::from_bits(part(0)));
        }
        let [a, b, c, d] = [part(0), part(1), part(2), part(3)].map(u128::from);
        IpAddr::V6(Ipv6Addr::from_bits(a << 96 | b << 64 | c << 32 | d))
    }
}

impl List {
    #[inline(always)]
    unsafe fn string(self) -> String {
        // SAFETY: the host wrote that many bytes of UTF-8 to what `cabi_realloc` gave
        // for just as many.
        unsafe { String::from_raw_parts(self.start, self.len, self.len) }
    }

    #[inline(always)]
    unsafe fn bytes<'a>(self) -> &'a [u8] {
        // SAFETY: as above; the caller doesn't use them after giving them back.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    #[inline(always)]
    unsafe fn give_back(self) {
        // SAFETY: of bytes, from `cabi_realloc`, and by the caller's promise not in use.
        unsafe { give(self.start, self.len, 1) };
    }
}

#[inline(always)]
unsafe fn attributes(list: List) -> Vec<Attribute> {
    if list.len == 0 {
        return Vec::new();
    }
    // SAFETY: by the caller's promise.
    unsafe { some_attributes(list) }
}

#[cold]
unsafe fn some_attributes(list: List) -> Vec<Attribute> {
    let mut attributes = Vec::with_capacity(list.len);
    // SAFETY: the host has written that many attributes, each of two texts that are now
    // the attribute's own; the list itself isn't used after it is given back.
    unsafe {
        let wire = list.start.cast::<WireAttribute>();
        for index in 0..list.len {
            let WireAttribute { name, value } = wire.add(index).read();
            attributes.push(Attribute { name: name.string(), value: value.string() });
        }
        give(list.start, list.len * size_of::<WireAttribute>(), align_of::<WireAttribute>());
    }
    attributes
}

/// What a host handed over, until it is given back.
pub(crate) struct Handed<W: Wire> {
    arguments: *mut Arguments<W>,
    /// What the host wrote isn't read a second time: it may be somebody else's by now.
    state: Option<List>,
    event: ManuallyDrop<W::Event>,
}

impl<W: Wire> Handed<W> {
    /// Takes up an event and a state.
    ///
    /// # Safety
    /// `arguments` is what the host hands to a `judge` of that kind of event.
    #[inline(always)]
    pub(crate) unsafe fn take(arguments: *mut u8) -> Self {
        let arguments: *mut Arguments<W> = arguments.cast();
        // SAFETY: by the caller's promise.
        unsafe {
            let Arguments { event, state } = &*arguments;
            Self { arguments, state: state.get(), event: ManuallyDrop::new(event.event()) }
        }
    }

    #[inline(always)]
    pub(crate) fn event(&self) -> &W::Event {
        &self.event
    }

    #[inline(always)]
    pub(crate) fn state(&self) -> Option<&[u8]> {
        // SAFETY: the host wrote them, and they are there as long as `self` is.
        self.state.map(|state| unsafe { state.bytes() })
    }

    /// All of it is the allocator's again.
    #[inline(always)]
    pub(crate) fn give_back(self) {
        // SAFETY: it is ours since `take`, and gone with `self`.
        unsafe {
            if let Some(state) = self.state {
                state.give_back();
            }
            (*self.arguments).event.give_back(self.event);
            give(self.arguments.cast(), size_of::<Arguments<W>>(), align_of::<Arguments<W>>());
        }
    }
}

/// An order as it is handed over.
pub(crate) trait WireOrder {
    /// On the wire.
    type Wire: Copy;

    /// The order on the wire; what it points to stays with `held`.
    fn into_wire(self, held: &mut Held) -> Self::Wire;
}

impl WireOrder for WaitOrder {
    type Wire = WireWaitOrder;

    fn into_wire(self, held: &mut Held) -> WireWaitOrder {
        WireWaitOrder { duration: to_ms(self.duration), reason: held.hold_reason(self.reason) }
    }
}

impl WireOrder for BanOrder {
    type Wire = WireBanOrder;

    fn into_wire(self, held: &mut Held) -> WireBanOrder {
        let reason = held.hold_reason(self.reason);
        WireBanOrder { duration: to_ms(self.duration), prefix_length: self.prefix_length.into(), reason }
    }
}

/// What an answer points to. It stays until another answer takes its place.
#[derive(Debug, Default)]
pub(crate) struct Held {
    count: usize,
    held: [Vec<u8>; HELD_MAX],
}

/// A reason's two texts, and a state; or an error.
const HELD_MAX: usize = 3;

impl Held {
    fn hold(&mut self, bytes: Vec<u8>) -> List {
        let place = &mut self.held[self.count];
        self.count += 1;
        *place = bytes;
        List { start: place.as_mut_ptr(), len: place.len() }
    }

    fn hold_reason(&mut self, reason: Reason) -> WireReason {
        WireReason { code: self.hold(reason.code.into_bytes()), text: self.hold(reason.text.into_bytes()) }
    }
}

/// Where answers are laid out.
#[derive(Debug)]
pub(crate) struct Desk {
    answer: UnsafeCell<[u64; ANSWER_WORDS]>,
    held: UnsafeCell<Held>,
}

/// Enough for every kind's answer.
const ANSWER_WORDS: usize = size_of::<Answer<WireBanOrder>>().div_ceil(8);
const _: () = assert!(size_of::<Answer<WireWaitOrder>>() <= ANSWER_WORDS * 8);

// SAFETY: whoever lays an answer out promises that nobody else does meanwhile.
unsafe impl Sync for Desk {}

impl Desk {
    pub(crate) const fn new() -> Self {
        let held = Held { count: 0, held: [const { Vec::new() }; HELD_MAX] };
        Self { answer: UnsafeCell::new([0; ANSWER_WORDS]), held: UnsafeCell::new(held) }
    }

    /// Lays out that nothing is ordered and no state changes.
    ///
    /// # Safety
    /// The host has read the last answer, and calls don't overlap.
    #[inline(always)]
    pub(crate) unsafe fn nothing<O: WireOrder>(&self) -> *mut u8 {
        let answer: *mut Answer<O::Wire> = self.answer.get().cast();
        // SAFETY: there is room for every kind's answer, and nobody else writes there.
        unsafe {
            (*answer).case = 0;
            let judgement = &raw mut (*answer).value.judgement;
            (*judgement).verdict.case = 0;
            (*judgement).keep.case = 0;
        }
        answer.cast()
    }

    /// Lays out what a judge comes to: an order or none, and what to keep.
    ///
    /// # Safety
    /// As [`Self::nothing`].
    #[inline(never)]
    pub(crate) unsafe fn lay_out<O: WireOrder>(&self, outcome: Result<(Option<O>, Keep), String>) -> *mut u8 {
        // SAFETY: as above.
        let (answer, held) = unsafe { (self.nothing::<O>().cast::<Answer<O::Wire>>(), &mut *self.held.get()) };
        held.count = 0;
        // SAFETY: as above.
        unsafe {
            match outcome {
                Ok((order, keep)) => {
                    let judgement = &raw mut (*answer).value.judgement;
                    if let Some(order) = order {
                        (*judgement).verdict = Case::holding(1, order.into_wire(held));
                    }
                    match keep {
                        Keep::Unchanged => {}
                        Keep::Forget => (*judgement).keep.case = 1,
                        Keep::Put(Kept { data, ttl }) => {
                            (*judgement).keep = Case::holding(2, WireKept { data: held.hold(data), ttl: ttl.into() });
                        }
                    }
                }
                Err(why) => {
                    (*answer).case = 1;
                    (*answer).value.error = held.hold(why.into_bytes());
                }
            }
        }
        answer.cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn list(text: &str) -> List {
        let len = text.len();
        if len == 0 {
            return List { start: std::ptr::without_provenance_mut(1), len };
        }
        List { start: Box::into_raw(text.as_bytes().to_owned().into_boxed_slice()).cast(), len }
    }

    /// As a host does it: every part in memory of its own.
    fn handed<E>(event: E, state: Option<&str>) -> *mut u8 {
        Box::into_raw(Box::new(Arguments { event, state: state.map(list).into() })).cast()
    }

    fn parts(parts: [u32; 4]) -> [MaybeUninit<u32>; 4] {
        parts.map(MaybeUninit::new)
    }

    fn attributes(pairs: &[(&str, &str)]) -> List {
        let pairs: Vec<_> =
            pairs.iter().map(|(name, value)| WireAttribute { name: list(name), value: list(value) }).collect();
        let len = pairs.len();
        let start =
            if len == 0 { std::ptr::without_provenance_mut(8) } else { Box::into_raw(pairs.into_boxed_slice()).cast() };
        List { start, len }
    }

    fn request(id: Option<&str>, named: &[(&str, &str)]) -> WireRequest {
        WireRequest {
            at: 7,
            source: Address { case: 0, parts: parts([0xC000_0207, 0, 0, 0]) },
            client_auth_id: id.map(list).into(),
            method: list("GET"),
            path: list("/a"),
            status: 404,
            attributes: attributes(named),
        }
    }

    fn text(list: List) -> String {
        // SAFETY: the tests' answers are texts.
        String::from_utf8(unsafe { list.bytes() }.to_owned()).unwrap()
    }

    /// Lays an answer out and gives it to the reader.
    fn answered<O: WireOrder>(
        desk: &Desk,
        outcome: Result<(Option<O>, Keep), String>,
        read: impl FnOnce(&Answer<O::Wire>),
    ) {
        // SAFETY: read before the next one.
        unsafe { read(&*desk.lay_out(outcome).cast()) };
    }

    #[test]
    fn a_request_arrives_as_it_was_sent() {
        let wire = request(Some("me"), &[("host", "example.org"), ("query", "")]);
        // SAFETY: handed over as a host does.
        let handed = unsafe { Handed::<WireRequest>::take(handed(wire, Some("kept"))) };
        let event = handed.event();
        assert_eq!((event.at_ms, event.source), (7, IpAddr::from([192, 0, 2, 7])));
        assert_eq!(event.client_auth_id.as_deref(), Some("me"));
        assert_eq!((event.method.as_str(), event.path.as_str(), event.status), ("GET", "/a", 404));
        assert_eq!((event.attribute("host"), event.attribute("query")), (Some("example.org"), Some("")));
        assert_eq!(handed.state(), Some(b"kept".as_slice()));
        handed.give_back();
    }

    #[test]
    fn an_attempt_arrives_as_it_was_sent() {
        let wire = WireAttempt {
            at: 7,
            source: Address { case: 1, parts: parts([0x2001_0db8, 1, 2, 0xffff_0003]) },
            client_auth_id: None.into(),
            outcome: 1,
            client_known: Some(1).into(),
            secret_fingerprint: Some(9).into(),
            attributes: attributes(&[]),
        };
        // SAFETY: handed over as a host does.
        let handed = unsafe { Handed::<WireAttempt>::take(handed(wire, None)) };
        let event = handed.event();
        assert_eq!(event.source, IpAddr::from([0x2001, 0x0db8, 0, 1, 0, 2, 0xffff, 3]), "most significant first");
        assert!(event.client_auth_id.is_none() && event.succeeded() && event.attributes.is_empty());
        assert_eq!((event.at_ms, event.client_known, event.secret_fingerprint), (7, Some(true), Some(9)));
        assert_eq!(handed.state(), None);
        handed.give_back();
    }

    #[test]
    fn an_answer_leaves_as_it_was_given_and_the_next_one_anew() {
        let desk = Desk::new();
        let reason = Reason { code: "code".to_owned(), text: "text".to_owned() };
        let order = BanOrder { duration: Duration::from_secs(2), prefix_length: Some(24), reason: reason.clone() };
        let put = Keep::Put(Kept { data: b"state".to_vec(), ttl: Some(5) });
        // SAFETY: what the answers say is there is read, and nothing else.
        unsafe {
            answered(&desk, Ok((Some(order), put)), |answer| {
                let Judgement { verdict, keep } = answer.value.judgement;
                assert_eq!((answer.case, verdict.case, keep.case), (0, 1, 2));
                let order = verdict.value.assume_init();
                assert_eq!((order.duration, order.prefix_length.get()), (2000, Some(24)));
                assert_eq!((text(order.reason.code), text(order.reason.text)), ("code".to_owned(), "text".to_owned()));
                let kept = keep.value.assume_init();
                assert_eq!((text(kept.data), kept.ttl.get()), ("state".to_owned(), Some(5)));
            });
            for (keep, case) in [(Keep::Unchanged, 0), (Keep::Forget, 1)] {
                answered::<BanOrder>(&desk, Ok((None, keep)), |answer| {
                    let Judgement { verdict, keep } = answer.value.judgement;
                    assert_eq!((answer.case, verdict.case, keep.case), (0, 0, case));
                });
            }
            answered(&desk, Ok((Some(WaitOrder { duration: Duration::ZERO, reason }), Keep::Forget)), |answer| {
                let Judgement { verdict, keep } = answer.value.judgement;
                assert_eq!((answer.case, verdict.case, keep.case), (0, 1, 1));
                assert_eq!(text(verdict.value.assume_init().reason.code), "code");
            });
            answered::<BanOrder>(&desk, Err("why".to_owned()), |answer| {
                assert_eq!((answer.case, text(answer.value.error)), (1, "why".to_owned()));
            });
        }
    }
}
