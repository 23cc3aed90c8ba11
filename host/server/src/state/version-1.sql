-- Times are milliseconds since the Unix epoch on the gate's clock. A policy
-- that is NULL is the operator. `written` is the pass over the whole memory that
-- a row has seen last: what an older pass left behind is in memory no longer.
-- Once released, this file never changes: what is new is another version.

CREATE TABLE file (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    latest INTEGER NOT NULL,
    written INTEGER NOT NULL
) STRICT;
INSERT INTO file VALUES (1, 0, 0);

CREATE TABLE totals (
    name TEXT NOT NULL PRIMARY KEY,
    number INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE bans (
    network TEXT NOT NULL PRIMARY KEY,
    since INTEGER NOT NULL,
    until INTEGER NOT NULL,
    policy TEXT,
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    written INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX bans_by_end ON bans (until);

-- A subject is "id:ID", "source:NETWORK" or "pair:NETWORK ID".
CREATE TABLE waits (
    subject TEXT NOT NULL PRIMARY KEY,
    since INTEGER NOT NULL,
    until INTEGER NOT NULL,
    policy TEXT,
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    written INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX waits_by_end ON waits (until);

CREATE TABLE formats (
    id INTEGER PRIMARY KEY,
    policy TEXT NOT NULL,
    format TEXT NOT NULL,
    UNIQUE (policy, format)
) STRICT;

-- What ends at 2^53 - 1 is kept until the room is needed.
CREATE TABLE kept (
    format INTEGER NOT NULL REFERENCES formats,
    subject TEXT NOT NULL,
    data BLOB NOT NULL,
    until INTEGER NOT NULL,
    written INTEGER NOT NULL,
    PRIMARY KEY (format, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX kept_by_end ON kept (until) WHERE until < 9007199254740991;
