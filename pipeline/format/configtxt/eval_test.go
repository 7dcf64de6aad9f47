package configtxt

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func readerOf(files map[string]string) Reader {
	return func(name string) ([]byte, error) {
		if text, ok := files[name]; ok {
			return []byte(text), nil
		}
		return nil, fs.ErrNotExist
	}
}

func eval(t *testing.T, text string, b Board, stage Stage) *Settings {
	t.Helper()
	s, err := Eval(readerOf(map[string]string{"config.txt": text}), "config.txt", b, stage)
	if err != nil {
		t.Fatalf("Eval: %v", err)
	}
	return s
}

func TestEvalMissingFile(t *testing.T) {
	s, err := Eval(readerOf(nil), "config.txt", boards()["pi4b"], Firmware)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Eval of a missing file: %v; want fs.ErrNotExist", err)
	}
	if got := s.Int("arm_64bit", 7); got != 7 {
		t.Errorf("Int of the default settings = %d; want the default, 7", got)
	}
}

func TestInt(t *testing.T) {
	s := eval(t, "a=16\nb=0x10\nc=0X1F\nd=\ne=yes\nf=-1\ng=1\ng=2\n", boards()["pi4b"], Firmware)
	want := map[string]int{"a": 16, "b": 16, "c": 31, "d": 99, "e": 99, "f": -1, "g": 2, "absent": 99}
	for key, v := range want {
		if got := s.Int(key, 99); got != v {
			t.Errorf("Int(%q) = %d; want %d", key, got, v)
		}
	}
	if l, _ := s.Line("g"); l.Number != 8 {
		t.Errorf("Line(g) is line %d; want the later one, 8", l.Number)
	}
}

func TestOverlays(t *testing.T) {
	tests := []struct {
		name   string
		text   string
		params []string
		want   []Overlay
	}{
		{"base parameters", "dtparam=i2c=on,spi=on", []string{"i2c=on", "spi=on"}, nil},
		{"parameters of an overlay", "dtoverlay=a,x=1,y\ndtparam=z=2", nil, []Overlay{{Name: "a", Params: []string{"x=1", "y", "z=2"}}}},
		{"old separator", "dtoverlay=lirc-rpi:gpio_out_pin=16", nil, []Overlay{{Name: "lirc-rpi", Params: []string{"gpio_out_pin=16"}}}},
		{"in order, twice the same", "dtoverlay=a\ndtoverlay=b\ndtoverlay=a", nil, []Overlay{{Name: "a"}, {Name: "b"}, {Name: "a"}}},
		{"an empty name ends the overlay", "dtoverlay=a\ndtoverlay=\ndtparam=audio=on", []string{"audio=on"}, []Overlay{{Name: "a"}}},
		{"filtered", "[pi3]\ndtoverlay=a\n[all]\ndtparam=b", []string{"b"}, nil},
		{"older names", "device_tree_overlay=a\ndevice_tree_param=b", nil, []Overlay{{Name: "a", Params: []string{"b"}}}},
		{"through an include", "dtoverlay=a\ninclude more.txt\ndtparam=z", nil, []Overlay{{Name: "a", Params: []string{"y", "z"}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			read := readerOf(map[string]string{"config.txt": tt.text, "more.txt": "dtparam=y\n"})
			s, err := Eval(read, "config.txt", boards()["pi4b"], Firmware)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, s.Overlays, cmpopts.IgnoreFields(Overlay{}, "Line")); diff != "" {
				t.Errorf("overlays (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.params, s.Params); diff != "" {
				t.Errorf("parameters of the device tree (-want +got):\n%s", diff)
			}
		})
	}
}

func TestInitramfs(t *testing.T) {
	tests := []struct {
		text string
		want []Initramfs
	}{
		{"initramfs a.gz followkernel", []Initramfs{{Files: []string{"a.gz"}, Address: "followkernel"}}},
		{"initramfs a.gz,b.gz 0x01f00000", []Initramfs{{Files: []string{"a.gz", "b.gz"}, Address: "0x01f00000"}}},
		{"initramfs initrd.img-6.1.0", []Initramfs{{Files: []string{"initrd.img-6.1.0"}}}},
		{"initramfs=a.gz", nil},
		{"ramfsfile=a.gz,b.gz\nramfsaddr=0x1000", []Initramfs{{Files: []string{"a.gz", "b.gz"}, Address: "0x1000"}}},
		{"ramfsfile=a\nramfsfile=b\ninitramfs c 0", []Initramfs{{Files: []string{"c"}, Address: "0"}, {Files: []string{"b"}}}},
		{"initramfs " + strings.Repeat("n", 70), []Initramfs{{Files: []string{strings.Repeat("n", WordLimit)}}}},
		{"[pi3]\ninitramfs a.gz", nil},
	}
	for _, tt := range tests {
		s := eval(t, tt.text, boards()["pi4b"], Firmware)
		if diff := cmp.Diff(tt.want, s.Initramfs, cmpopts.IgnoreFields(Initramfs{}, "Line")); diff != "" {
			t.Errorf("initramfs of %q (-want +got):\n%s", tt.text, diff)
		}
	}
}

// An included file stands in for its include line: its filters hold on after it.
func TestInclude(t *testing.T) {
	s, err := Eval(readerOf(map[string]string{
		"config.txt": "a=1\n[pi3]\ninclude hidden.txt\n[all]\ninclude one.txt\nb=1\ninclude hidden.txt\n",
		"one.txt":    "a=2\ninclude two.txt\n",
		"two.txt":    "[pi3]\n",
	}), "config.txt", boards()["pi4b"], Firmware)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"one.txt", "two.txt"}, s.Includes); diff != "" {
		t.Errorf("includes (-want +got):\n%s", diff)
	}
	if got := s.Int("a", 0); got != 2 {
		t.Errorf("a = %d; want 2, from one.txt", got)
	}
	if _, ok := s.Get("b"); ok {
		t.Error("b is in force after the [pi3] of an included file")
	}
}

func TestIncludeOnlyInFirmwareStage(t *testing.T) {
	files := map[string]string{"config.txt": "include a.txt\n", "a.txt": "gpu_mem=16\n"}
	for stage, want := range map[Stage]int{Bootloader: 0, Firmware: 16} {
		s, err := Eval(readerOf(files), "config.txt", boards()["pi4b"], stage)
		if err != nil || s.Int("gpu_mem", 0) != want {
			t.Errorf("stage %d: gpu_mem = %d, %v; want %d", stage, s.Int("gpu_mem", 0), err, want)
		}
	}
}

func TestIncludeMissing(t *testing.T) {
	s, err := Eval(readerOf(map[string]string{"config.txt": "include gone.txt\na=1\n"}), "config.txt", boards()["pi4b"], Firmware)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "gone.txt") {
		t.Errorf("error = %v; want one that names gone.txt", err)
	}
	if s.Int("a", 0) != 1 {
		t.Error("evaluation stopped at a missing include")
	}
}

func TestIncludeLoop(t *testing.T) {
	reads := 0
	read := func(string) ([]byte, error) {
		reads++
		return []byte("include config.txt\ninclude config.txt\n"), nil
	}
	if _, err := Eval(read, "config.txt", boards()["pi4b"], Firmware); err == nil {
		t.Error("a loop of includes is no error")
	}
	if reads > includeTotal+1 {
		t.Errorf("%d files read; want at most %d", reads, includeTotal+1)
	}
}

func FuzzEval(f *testing.F) {
	f.Add("[pi4]\nkernel=a\ninclude config.txt\ninitramfs a,b 0\n")
	f.Add("dtoverlay=a,b:c\ndtparam=\n[gpio4=1]\n[0xff]\n[board-type=0x11]\nauto_initramfs=1\n")
	f.Add("os_prefix=/\nupstream_kernel=1\nboot_ramdisk=1\n\ufeff")
	f.Fuzz(func(t *testing.T, text string) {
		reads := 0
		read := func(string) ([]byte, error) { reads++; return []byte(text), nil }
		for _, b := range boards() {
			boot, _ := Eval(read, "config.txt", b, Bootloader)
			fw, _ := Eval(read, "config.txt", b, Firmware)
			Resolve(boot, fw, b, func(name string) bool { return len(name)%2 == 0 })
		}
		if reads > len(boards())*(includeTotal+2) {
			t.Errorf("%d reads", reads)
		}
	})
}
