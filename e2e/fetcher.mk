# The fetcher's S3 tests against real services on the loopback: versitygw, built here, and a Ceph object gateway.

CEPH_PACKAGES := ceph-mon ceph-osd radosgw ceph-common openssl

.PHONY: e2e-s3
e2e-s3: build/e2e/bin/versitygw .venv/installed-dev  ## the fetcher's tests with an S3 service (Go)
	$(BIN)/pytest -n $(JOBS) tests/engine/fetcher

.PHONY: e2e-ceph
e2e-ceph: .venv/installed-dev  ## the fetcher's S3 tests against a real Ceph gateway (root, for its packages)
	@missing=$$(for package in $(CEPH_PACKAGES); do \
	    dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null | grep -q '^installed' || echo $$package; done); \
	if [ -n "$$missing" ]; then apt-get update -q && apt-get install -q -y --no-install-recommends $$missing; fi
	$(BIN)/python -m e2e.ceph $(BIN)/pytest tests/engine/fetcher/test_s3.py
