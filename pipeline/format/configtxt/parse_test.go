package configtxt

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	long := "kernel=" + strings.Repeat("k", LineLimit)
	tests := []struct {
		name string
		text string
		want []Line
	}{
		{"empty", "", nil},
		{"blank", " \n", []Line{{Text: " ", Kind: Blank}}},
		{"comment", "# kernel=a\n", []Line{{Text: "# kernel=a", Kind: Comment}}},
		{"comment only at the start", "kernel=a #b", []Line{{Text: "kernel=a #b", Kind: Property, Key: "kernel", Value: "a #b"}}},
		{"indented comment", " # a", []Line{{Text: " # a", Kind: Junk}}},
		{"property", "arm_64bit=1\n", []Line{{Text: "arm_64bit=1", Kind: Property, Key: "arm_64bit", Value: "1"}}},
		{"empty value", "dtoverlay=", []Line{{Text: "dtoverlay=", Kind: Property, Key: "dtoverlay"}}},
		{"second equals sign", "dtparam=i2c=on", []Line{{Text: "dtparam=i2c=on", Kind: Property, Key: "dtparam", Value: "i2c=on"}}},
		{"space before the equals sign", "kernel =a", []Line{{Text: "kernel =a", Kind: Property, Key: "kernel ", Value: "a"}}},
		{"no key", "=1", []Line{{Text: "=1", Kind: Junk}}},
		{"CR LF", "a=1\r\nb=2\r\n", []Line{
			{Text: "a=1", Kind: Property, Key: "a", Value: "1"},
			{Text: "b=2", Kind: Property, Key: "b", Value: "2"},
		}},
		{"section", "[pi4]", []Line{{Text: "[pi4]", Kind: Section, Value: "pi4"}}},
		{"section not closed", "[pi4", []Line{{Text: "[pi4", Kind: Junk}}},
		{"section too long", "[" + strings.Repeat("x", 61) + "]", []Line{{Text: "[" + strings.Repeat("x", 61) + "]", Kind: Junk}}},
		{"initramfs", "initramfs a.gz,b.gz followkernel", []Line{
			{Text: "initramfs a.gz,b.gz followkernel", Kind: Directive, Key: "initramfs", Value: "a.gz,b.gz followkernel"},
		}},
		{"initramfs with an equals sign", "initramfs=a", []Line{{Text: "initramfs=a", Kind: Property, Key: "initramfs", Value: "a"}}},
		{"initramfs alone", "initramfs ", []Line{{Text: "initramfs ", Kind: Junk}}},
		{"include", "include\tmore.txt", []Line{{Text: "include\tmore.txt", Kind: Directive, Key: "include", Value: "more.txt"}}},
		{"line limit", long, []Line{{Text: long, Kind: Property, Key: "kernel", Value: strings.Repeat("k", LineLimit-len("kernel="))}}},
		{"a byte that is not ASCII ends all", "a=1 \u2013 b\nc=2\n[pi4]\n", []Line{
			{Text: "a=1 \u2013 b", Kind: Property, Key: "a", Value: "1 "},
			{Text: "c=2", Kind: Junk},
			{Text: "[pi4]", Kind: Junk},
		}},
		{"byte order mark", "\ufeffa=1\nb=1\n", []Line{{Text: "\ufeffa=1", Kind: Junk}, {Text: "b=1", Kind: Junk}}},
		{"invalid UTF-8", "a=\xff1", []Line{{Text: "a=\xff1", Kind: Property, Key: "a"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for i := range tt.want {
				tt.want[i].File, tt.want[i].Number = "f", i+1
			}
			if diff := cmp.Diff(tt.want, Parse("f", []byte(tt.text))); diff != "" {
				t.Errorf("Parse(%q) (-want +got):\n%s", tt.text, diff)
			}
		})
	}
}
