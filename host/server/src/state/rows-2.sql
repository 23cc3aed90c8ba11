-- What a server of version 2 might have left, besides what one of version 1 would have.
INSERT INTO watched VALUES
    ('rportd', '/var/log/rport/rportd.log', '{"generations":[]}'),
    ('sshd', '/var/log/auth.log', '{"generations":[]}');
