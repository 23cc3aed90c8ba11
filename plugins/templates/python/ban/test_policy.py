import unittest

from portcullis_testing import Host, Refused, attempt

SOURCE = "203.0.113.7"


class Bans(unittest.TestCase):
    def test_the_fifth_failure_bans_for_an_hour(self):
        host = Host("ban")
        for at in range(4):
            self.assertIsNone(host.judge(attempt(SOURCE, at_ms=1000 * at)))
        order = host.judge(attempt(SOURCE, at_ms=4000))
        self.assertEqual(order.duration, 3_600_000)
        self.assertEqual(order.reason.text, "5 failed logins in a row.")
        self.assertIsNone(host.kept(attempt(SOURCE)), "the count starts again")

    def test_a_success_sets_the_count_back(self):
        host = Host("ban", max_failed_login=2)
        self.assertIsNone(host.judge(attempt(SOURCE)))
        self.assertIsNone(host.judge(attempt(SOURCE, succeeded=True)))
        self.assertIsNone(host.judge(attempt(SOURCE)))
        self.assertIsNotNone(host.judge(attempt(SOURCE)))

    def test_no_failures_at_all_is_no_limit(self):
        with self.assertRaisesRegex(Refused, "max_failed_login: found 0, expected at least 1"):
            Host("ban", max_failed_login=0)


if __name__ == "__main__":
    unittest.main()
