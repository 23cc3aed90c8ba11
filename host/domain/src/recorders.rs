//! Several who hear of what a store holds.

use std::sync::Arc;

use ipnet::IpNet;

use crate::judge::StateFormat;
use crate::store::{Ban, Recorder, Wait};
use crate::subject::Subject;
use crate::time::Timestamp;

/// Tells each of them, one after the other.
pub struct Recorders(Vec<Arc<dyn Recorder>>);

impl Recorders {
    /// Those of them that there are as one; none if there is nobody.
    #[must_use]
    pub fn of(all: impl IntoIterator<Item = Arc<dyn Recorder>>) -> Option<Arc<dyn Recorder>> {
        let mut all: Vec<_> = all.into_iter().collect();
        if all.len() > 1 { Some(Arc::new(Self(all))) } else { all.pop() }
    }

    fn each(&self, tell: impl Fn(&dyn Recorder)) {
        self.0.iter().for_each(|recorder| tell(&**recorder));
    }
}

impl Recorder for Recorders {
    fn banned(&self, ban: &Ban) {
        self.each(|recorder| recorder.banned(ban));
    }

    fn unbanned(&self, network: IpNet) {
        self.each(|recorder| recorder.unbanned(network));
    }

    fn waits(&self, wait: &Wait) {
        self.each(|recorder| recorder.waits(wait));
    }

    fn waits_no_more(&self, subject: &Subject) {
        self.each(|recorder| recorder.waits_no_more(subject));
    }

    fn kept(&self, policy: &Arc<str>, format: &StateFormat, subject: &Subject, data: &[u8], expires: Timestamp) {
        self.each(|recorder| recorder.kept(policy, format, subject, data, expires));
    }

    fn forgot(&self, policy: &Arc<str>, format: &StateFormat, subject: &Subject) {
        self.each(|recorder| recorder.forgot(policy, format, subject));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Mutex;

    #[derive(Default)]
    struct Heard(Mutex<Vec<IpNet>>);

    impl Recorder for Heard {
        fn banned(&self, _: &Ban) {}
        fn unbanned(&self, network: IpNet) {
            self.0.lock().push(network);
        }
        fn waits(&self, _: &Wait) {}
        fn waits_no_more(&self, _: &Subject) {}
        fn kept(&self, _: &Arc<str>, _: &StateFormat, _: &Subject, _: &[u8], _: Timestamp) {}
        fn forgot(&self, _: &Arc<str>, _: &StateFormat, _: &Subject) {}
    }

    #[test]
    fn each_of_them_hears_and_nobody_is_nobody() {
        assert!(Recorders::of([]).is_none());
        let (one, other) = (Arc::new(Heard::default()), Arc::new(Heard::default()));
        let network = "203.0.113.0/24".parse().unwrap();
        Recorders::of([Arc::clone(&one) as Arc<dyn Recorder>]).unwrap().unbanned(network);
        Recorders::of([Arc::clone(&one) as Arc<dyn Recorder>, Arc::clone(&other) as _]).unwrap().unbanned(network);
        assert_eq!((one.0.lock().len(), other.0.lock().len()), (2, 1));
    }
}
