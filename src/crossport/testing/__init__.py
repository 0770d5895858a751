"""What drivers, tests and demonstrations are checked with: conformance suites and a small real guest."""
