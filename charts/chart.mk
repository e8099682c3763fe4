# The chart's tests need helm. Where there is Go, it is built for them from its module; elsewhere they are skipped, and say so.

pytest: $(if $(shell command -v go),$(E2E_BIN)/helm)

.PHONY: helm
helm:  ## build helm into build/e2e/bin, for the tests of the chart (Go)
	@command -v go >/dev/null || { echo "Go was wanted and not found, of the version that e2e/tools/helm/go.mod names" >&2; exit 1; }
	$(MAKE) --no-print-directory $(E2E_BIN)/helm
