# piimg: images of Raspberry Pi boot files, kept by digest, served to boards.

BIN   := .build/piimg
BUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -buildid="

# What the tests need besides Go: an emulator, three TFTP clients, a kernel with a root file
# system, and other people's tools that read what piimg writes.
PACKAGES := xxd nbdkit libnbd-bin fuse3 util-linux e2fsprogs dosfstools mtools fdisk bmap-tools qemu-efi-aarch64 build-essential bc file rsync unzip wget dpkg git qemu-system-arm tftp-hpa atftp curl skopeo nginx-light cpio libarchive-tools dnsmasq-base busybox nftables iproute2 gzip pigz zstd bzip2 lz4 xz-utils device-tree-compiler kmod debian-installer-12-netboot-arm64 openssh-client openssl

.PHONY: help quickstart build test race lint e2e test-big test-buildroot test-s3-big test-s3-all bench bench-initramfs bench-tftp bench-loss bench-storm test-storm test-clients bench-http bench-serve bench-gc soak fuzz deps clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' Makefile

quickstart: build ## build recipes/quickstart.toml, serve it, boot a simulated Pi 4 from it
	$(BIN) try recipes/quickstart.toml

build: ## build the command into .build/
	$(BUILD) -o $(BIN) ./cmd/piimg

test: lint race e2e test-buildroot ## everything that continuous integration runs

# The scripts of cmd/piimg alone take nine minutes on two processors; go test gives ten.
race: ## all tests but the end-to-end ones, with the race detector
	go test -race -timeout 40m ./...

lint: ## formatting, vet, staticcheck, go.mod
	@test -z "$$(gofmt -l cmd pipeline recipes store)" || { gofmt -l cmd pipeline recipes store; exit 1; }
	go vet ./...
	go vet -tags e2e,big,bench,clients,storm ./cmd/piimg ./pipeline/format/initrd/repack ./store/mirror
	go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 -tags e2e,big,bench,clients,storm ./...
	go mod tidy -diff

e2e: build .build/rivals ## build, serve, fetch with foreign clients, boot in QEMU, build again elsewhere (as root)
	PIIMG=$(abspath $(BIN)) RIVALS=$(abspath .build/rivals) go test -tags e2e,clients -run 'E2E|TestUBoot|TestEDK2|TestIPXE' -count=1 -v -timeout 20m ./cmd/piimg ./pipeline/format/initrd/repack

test-big: ## repack root file systems of some 350 MB: Debian's kernel (100 MB to fetch), and PIIMG_ROOTFS=file
	go test -tags big -run 'TestBig$(if $(PIIMG_ROOTFS),,RoundTripOfDebian)' -count=1 -v -timeout 60m ./pipeline/format/initrd/repack

test-s3-big: ## move a file of 4 GiB to a server, from it, and between stores, and look at the memory that takes (16 GiB of disk)
	go test -tags big -run TestMemoryStaysFlat -count=1 -v -timeout 30m ./store/mirror

test-s3-all: ## every test of S3 on each server there is: versitygw and MinIO (a quarter of an hour to build the first time)
	@for server in versitygw minio; do \
		echo "$$server:"; \
		go -C store/s3/testdata/$$server tool -n $$server >/dev/null && \
		PIIMG_S3_SERVER=$$server go test -race -count=1 ./store/s3/... ./store/probe ./store/mirror ./store/fsck && \
		PIIMG_S3_SERVER=$$server go test -count=1 -run 'TestScriptS3|BytesOverTheWire|Row44' ./cmd/piimg || exit 1; \
	done

test-buildroot: build ## build with a real Buildroot, offline: PIIMG_BUILDROOT_TREE=its tree, PIIMG_BUILDROOT_DL=its downloads
ifeq ($(PIIMG_BUILDROOT_TREE),)
	@echo 'not run: test-buildroot (no tree)'
else
	PIIMG=$(abspath $(BIN)) go test -tags e2e -run TestBuildroot -count=1 -v -timeout 60m ./cmd/piimg
endif

bench: bench-initramfs ## how long builds without changes, --help, and edits of an initramfs take
	go test -run '^$$' -bench . -benchtime 20x ./cmd/piimg

bench-initramfs: ## edit two real root file systems (100 MB to fetch), as piimg and as cpio with gzip, pigz, zstd do
	go test -tags bench -run '^$$' -bench Initramfs -benchtime 3x -timeout 90m ./cmd/piimg

bench-tftp: .build/rivals ## serve the same files as piimg, dnsmasq, tftpd-hpa and atftpd (as root), in one run, with ratios; THREADS=2 lets the clients have two threads
	RIVALS=$(abspath .build/rivals) go test -tags bench -run '^$$' -bench TFTP -benchtime 3x -timeout 60m ./cmd/piimg

bench-loss: ## fetch through 1 % of loss and 1 ms of delay from piimg and dnsmasq (as root), in one run, with the ratio
	go test -tags bench -run '^$$' -bench 'Loss$$' -benchtime 3x -timeout 60m ./cmd/piimg

bench-http: ## serve one file over HTTP as piimg and nginx (from Debian), in one run, with ratios
	go test -tags bench -run '^$$' -bench HTTP -benchtime 5x -timeout 30m ./cmd/piimg

bench-serve: bench-tftp bench-http ## both: what boards wait for

bench-storm: .build/rivals ## boot 64 simulated boards at once from piimg, dnsmasq, tftpd-hpa and atftpd (as root), with and without loss, and over HTTP from piimg and nginx
	RIVALS=$(abspath .build/rivals) go test -tags bench -run '^$$' -bench Storm -benchtime 1x -timeout 60m ./cmd/piimg

test-storm: ## boot 500 boards six times from a piimg serve of its own, and 100 through heavy loss, and look at its memory (3 minutes; idle machine)
	go test -tags storm -run TestStorm -count=1 -v -timeout 30m ./cmd/piimg

test-clients: .build/rivals ## fetch with U-Boot, EDK2 and iPXE in QEMU, in network namespaces (as root)
	RIVALS=$(abspath .build/rivals) go test -tags clients -run 'TestUBoot|TestEDK2|TestIPXE' -count=1 -v -timeout 20m ./cmd/piimg

# The packages of two TFTP servers exclude each other, and bookworm has no iPXE for arm64.
.build/rivals:
	mkdir -p $@.new/lists/partial $@.new/cache/archives/partial
	echo "deb $$(apt-get indextargets --format '$$(REPO_URI)' | grep -v security | head -n 1) trixie main" >$@.new/trixie
	cd $@.new && apt-get download -qq tftpd-hpa atftpd u-boot-qemu
	cd $@.new && for c in update "download ipxe"; do apt-get -qq -o Dir::Etc::SourceList=$$PWD/trixie -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists=$$PWD/lists -o Dir::Cache=$$PWD/cache $$c || exit 1; done
	cd $@.new && for d in *.deb; do dpkg -x $$d $${d%%_*}; done && rm -rf lists cache *.deb
	mv $@.new $@

bench-gc: ## find out what a store of 100,000 blobs and 10,000 manifests keeps, in a folder and on an S3 server
	go test -run '^$$' -bench Mark -benchtime 3x -timeout 60m ./store/gc

soak: ## builders, promoters, readers and collectors on one store, ten minutes in a folder and ten on an S3 server (PIIMG_SOAK=1m), and more of their interleavings
	PIIMG_SOAK=$(or $(PIIMG_SOAK),10m) go test -race -run 'TestSoak|TestFaultRow19' -count=1 -v -timeout 120m ./store/gc

fuzz: ## every fuzz test for 30 seconds
	@for pkg in $$(go list ./...); do \
		for f in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			go test -run '^$$' -fuzz "^$$f$$" -fuzztime 30s -fuzzminimizetime 100x $$pkg || exit 1; \
		done; \
	done

deps: ## install what the tests need (Debian packages, as root) and get the Go modules
	DEBIAN_FRONTEND=noninteractive sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends $(PACKAGES)' </dev/null
	go mod download
	go -C pipeline/format/newc/testdata/uroot mod download
	go -C store/layout/testdata/foreign mod download
	go -C store/serve/web/testdata/pull mod download

clean: ## remove what make has built
	rm -rf .build
