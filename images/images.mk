# The container images. IMAGE_TOOL builds them: buildah, podman or docker, whichever is there.

IMAGE_TOOL   ?= $(firstword $(notdir $(foreach tool,buildah podman docker,$(shell command -v $(tool)))))
# Where they will be pushed to goes before the name: make images REGISTRY=registry.example.org/pagelet/
REGISTRY     ?=
BASE         ?=
# More arguments for the tool, e.g. --build-arg TORCH_INDEX=https://… or --isolation chroot
IMAGE_FLAGS  ?=
VERSION      := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

.PHONY: images
images: image-operator image-gateway image-engine  ## build the three container images with buildah, podman or docker

.PHONY: image-operator image-gateway image-engine
image-operator image-gateway image-engine: image-%:
	@[ -n "$(IMAGE_TOOL)" ] || { echo "buildah, podman or docker was wanted and none was found in PATH" >&2; exit 1; }
	$(IMAGE_TOOL) $(if $(filter buildah,$(IMAGE_TOOL)),bud --layers,build) $(if $(BASE),--build-arg BASE=$(BASE)) \
	    --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) \
	    $(IMAGE_FLAGS) --file images/$*/Containerfile --tag $(REGISTRY)pagelet-$*:$(VERSION) .
