-- How far watched logs have been read: one row for each file of a watch. What a
-- place looks like is the watch's affair.

CREATE TABLE watched (
    watch TEXT NOT NULL,
    file TEXT NOT NULL,
    place TEXT NOT NULL,
    PRIMARY KEY (watch, file)
) STRICT, WITHOUT ROWID;
