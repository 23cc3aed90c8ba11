//! For an author's native tests.
