import unittest

from portcullis_testing import Host, Refused, request

SOURCE = "203.0.113.7"


def hit(at_secs):
    return request(SOURCE, "/wp-login.php", 404, at_ms=1000 * at_secs)


class Bans(unittest.TestCase):
    def test_the_fifth_hit_bans_for_an_hour(self):
        host = Host("scanner")
        for at in range(4):
            self.assertIsNone(host.judge(hit(at)))
        order = host.judge(hit(4))
        self.assertEqual(order.duration, 3_600_000)
        self.assertEqual(order.reason.text, "5 hits within 60s.")
        self.assertIsNone(host.kept(hit(4)), "a window of its own begins")

    def test_a_window_ends_a_minute_after_its_first_hit(self):
        host = Host("scanner", max_hits=2)
        self.assertIsNone(host.judge(hit(0)))
        self.assertIsNone(host.judge(hit(60)))
        self.assertIsNotNone(host.judge(hit(119)))

    def test_other_statuses_and_authenticated_clients_are_no_hits(self):
        host = Host("scanner", max_hits=1)
        self.assertIsNone(host.judge(request(SOURCE, "/", 200)))
        self.assertIsNone(host.judge(request(SOURCE, "/missing", 404, client="abc")))
        self.assertIsNotNone(host.judge(hit(0)))

    def test_at_least_one_status_has_to_be_a_hit(self):
        with self.assertRaisesRegex(Refused, "statuses: found .*, expected at least one status"):
            Host("scanner", statuses=[])


if __name__ == "__main__":
    unittest.main()
