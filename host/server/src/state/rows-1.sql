-- What a server of version 1 might have left: read by a test, for ever.
UPDATE file SET latest = 1700000000000;
INSERT INTO totals VALUES ('requests', 42), ('bans', 2);
INSERT INTO bans VALUES
    ('203.0.113.7/32', 1700000000000, 1700003600000, 'ban', 'max-failed-login', 'Maximum of 5 login attempts reached.', 0),
    ('2001:db8::/32', 1700000000000, 1700086400000, NULL, 'by-hand', 'it was them', 0),
    ('192.0.2.1/32', 1600000000000, 1600003600000, NULL, 'by-hand', 'long ago', 0);
INSERT INTO waits VALUES ('id:alice', 1700000000000, 1700000002000, 'wait', 'failed', '', 0);
INSERT INTO formats VALUES (1, 'ban', 'failures-in-a-row/1'), (2, 'scanner', 'hits/1');
INSERT INTO kept VALUES
    (1, 'source:198.51.100.1/32', x'04000000', 9007199254740991, 0),
    (2, 'pair:198.51.100.1/32 bob', x'01', 1700000020000, 0),
    (2, 'source:192.0.2.1/32', x'02', 1600000000000, 0);
