import unittest

from portcullis_testing import Host, attempt


def failure(at_secs):
    return attempt("203.0.113.7", "abc", at_ms=1000 * at_secs)


class Waits(unittest.TestCase):
    def test_each_wait_is_twice_as_long_up_to_a_minute(self):
        host = Host("wait")
        waits = [host.judge(failure(60 * n)).duration for n in range(9)]
        self.assertEqual(waits, [1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000])
        # However often.
        self.assertEqual({host.judge(failure(60 * n)).duration for n in range(9, 300)}, {60000})

    def test_a_success_sets_it_back(self):
        host = Host("wait")
        self.assertEqual(host.judge(failure(0)).duration, 1000)
        self.assertIsNone(host.judge(attempt("203.0.113.7", "abc", succeeded=True, at_ms=9000)))
        self.assertEqual(host.judge(failure(20)).duration, 1000)

    def test_a_quiet_quarter_of_an_hour_sets_it_back(self):
        host = Host("wait")
        self.assertEqual(host.judge(failure(0)).duration, 1000)
        self.assertEqual(host.judge(failure(899)).duration, 2000)
        self.assertEqual(host.judge(failure(899 + 900)).duration, 1000)

    def test_no_first_wait_turns_it_off(self):
        host = Host("wait", first_wait=0.0)
        self.assertIsNone(host.judge(failure(0)))
        self.assertIsNone(host.kept(failure(0)))


if __name__ == "__main__":
    unittest.main()
