package kconfig_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"piimg/pipeline/format/kconfig"
)

// The forms that occur in Buildroot, from package/*/Config.in, system/Config.in and
// Config.in.legacy, shortened.
var tree = fstest.MapFS{
	"Config.in": {Data: []byte(`mainmenu "x"
source "package/Config.in"
`)},
	"package/tmux/Config.in": {Data: []byte(`config BR2_PACKAGE_TMUX
	bool "tmux"
	depends on BR2_USE_MMU # fork()
	depends on BR2_USE_WCHAR && !BR2_STATIC_LIBS
	select BR2_PACKAGE_LIBEVENT
	help
	  tmux is a terminal multiplexer.

	  depends on nothing here

comment "tmux needs a toolchain w/ wchar"
	depends on !BR2_USE_WCHAR
`)},
	"package/systemd/Config.in": {Data: []byte(`if BR2_INIT_SYSTEMD
menuconfig BR2_PACKAGE_SYSTEMD
	bool
	depends on BR2_TOOLCHAIN_HEADERS_AT_LEAST_4_15 || \
		BR2_NEVER
config BR2_PACKAGE_SYSTEMD_NETWORKD
	bool "network manager"
	default y
endif
config BR2_PACKAGE_LIBEVENT
	bool "libevent"
`)},
	"system/Config.in": {Data: []byte(`choice
	prompt "Init system"
	default BR2_INIT_BUSYBOX
config BR2_INIT_BUSYBOX
	bool "BusyBox"
config BR2_INIT_SYSTEMD
	bool "systemd"
endchoice
config BR2_NUMBER
	int "number"
	range 1 9
config BR2_ODD
	bool "odd"
	depends on (BR2_A || BR2_B) && BR2_C = "text"
`)},
	"Config.in.legacy": {Data: []byte(`config BR2_PACKAGE_OLD
	bool "old has been renamed"
	select BR2_LEGACY
	help
	  Use BR2_PACKAGE_NEW
	  instead.
`)},
}

func TestEachDroppedSymbolHasItsReason(t *testing.T) {
	symbols, err := kconfig.Scan(tree, "")
	if err != nil {
		t.Fatal(err)
	}
	got := kconfig.Parse(`BR2_USE_MMU=y
# BR2_USE_WCHAR is not set
BR2_STATIC_LIBS=y
BR2_INIT_BUSYBOX=y
BR2_NUMBER=1
BR2_C="other"
BR2_A=y
BR2_PACKAGE_LIBEVENT=y
BR2_PACKAGE_OTHER=y
BR2_PACKAGE_OLD=y
BR2_SAME="x"
`)
	want := kconfig.Lines(`BR2_PACKAGE_TMUX=y
BR2_INIT_SYSTEMD=y
BR2_PACKAGE_SYSTEMD=y
BR2_PACKAGE_SYSTEMD_NETWORKD=y
BR2_PACKAGE_SYSTEMD_NETWORKS=y
BR2_UTTERLY_UNKNOWN="x"
BR2_NUMBER=12
BR2_ODD=y
# BR2_PACKAGE_LIBEVENT is not set
BR2_PACKAGE_OLD=n
BR2_SAME="x"
# BR2_ABSENT is not set
`)
	want[9].Value = "m" // as if it were asked for otherwise
	told := kconfig.Why(kconfig.Compare(want, got), got, symbols)
	if d := cmp.Diff([]string{
		"BR2_INIT_SYSTEMD=y was dropped: it is one of a choice, and BR2_INIT_BUSYBOX was taken (system/Config.in:6)",
		"BR2_NUMBER is 1, and was to be 12: the value is none that it can have (system/Config.in:9)",
		`BR2_ODD=y was dropped: it depends on BR2_C = "text" (system/Config.in:12)`,
		"BR2_PACKAGE_LIBEVENT is y, and was to be unset: its default cannot be changed here",
		"BR2_PACKAGE_OLD is y, and was to be m: legacy: old has been renamed: Use BR2_PACKAGE_NEW instead.",
		"BR2_PACKAGE_SYSTEMD=y was dropped: it depends on BR2_INIT_SYSTEMD and BR2_TOOLCHAIN_HEADERS_AT_LEAST_4_15 ||  BR2_NEVER (package/systemd/Config.in:2)",
		"BR2_PACKAGE_SYSTEMD_NETWORKD=y was dropped: it depends on BR2_INIT_SYSTEMD (package/systemd/Config.in:6)",
		"BR2_PACKAGE_SYSTEMD_NETWORKS=y was dropped: no Config.in defines it: it was removed, or is misspelt; there is BR2_PACKAGE_SYSTEMD_NETWORKD",
		"BR2_PACKAGE_TMUX=y was dropped: it depends on BR2_USE_WCHAR and !BR2_STATIC_LIBS (package/tmux/Config.in:1)",
		`BR2_UTTERLY_UNKNOWN="x" was dropped: no Config.in defines it: it was removed, or is misspelt`,
	}, told); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	got["BR2_PACKAGE_TMUX"] = "y"
	told = kconfig.Why(kconfig.Compare(kconfig.Lines("# BR2_PACKAGE_LIBEVENT is not set\n"), got), got, symbols)
	if len(told) != 1 || !strings.HasSuffix(told[0], "it is selected by BR2_PACKAGE_TMUX") {
		t.Errorf("selected: %q", told)
	}
}

func TestMergeSetsNothingTwice(t *testing.T) {
	base := kconfig.Lines("# a comment\nBR2_A=y\nBR2_B=\"x\"\n# BR2_C is not set\n")
	got := kconfig.Text(kconfig.Merge(base, kconfig.Lines("# BR2_A is not set\nBR2_C=y\n")))
	if want := "BR2_B=\"x\"\n# BR2_A is not set\nBR2_C=y\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func FuzzScan(f *testing.F) {
	for _, file := range tree {
		f.Add(string(file.Data))
	}
	f.Fuzz(func(t *testing.T, text string) {
		symbols, err := kconfig.Scan(fstest.MapFS{"Config.in": {Data: []byte(text)}}, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range symbols {
			kconfig.Why([]kconfig.Difference{{Name: s.Name, Want: "y"}}, kconfig.Config{}, symbols)
		}
	})
}
