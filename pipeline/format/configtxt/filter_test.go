package configtxt

import "testing"

func TestFilters(t *testing.T) {
	tests := []struct {
		name     string
		sections string // before "x=1"
		board    string
		stage    Stage
		want     bool
	}{
		{"none at all", "", "pi4b", Firmware, true},
		{"family", "[pi4]", "pi400", Firmware, true},
		{"model", "[pi400]", "pi400", Firmware, true},
		{"model of another board", "[pi400]", "pi4b", Firmware, false},
		{"family does not imply the model", "[cm4]", "pi4b", Firmware, false},
		{"upper case", "[PI4]", "pi4b", Firmware, true},
		{"same type replaces", "[pi3]\n[pi4]", "pi4b", Firmware, true},
		{"same type replaces a match", "[pi4]\n[pi3]", "pi4b", Firmware, false},
		{"different types must both match", "[pi4]\n[0x1]", "pi4b", Firmware, false},
		{"different types both match", "[pi4]\n[0x91cdf03d]", "pi4b", Firmware, true},
		{"a failed type stays", "[0x1]\n[pi4]", "pi4b", Firmware, false},
		{"all clears", "[pi3]\n[0x1]\n[all]", "pi4b", Firmware, true},
		{"none", "[none]", "pi4b", Firmware, false},
		{"none until all", "[none]\n[all]", "pi4b", Firmware, true},
		{"serial", "[0x91cdf03d]", "pi4b", Bootloader, true},
		{"serial with its high half", "[0x1000000091cdf03d]", "pi4b", Firmware, true},
		{"serial of nobody", "[0x0]", "pi3b", Firmware, false},
		{"board type", "[board-type=0x11]", "pi4b", Firmware, true},
		{"board type of another", "[board-type=0x13]", "pi4b", Firmware, false},
		{"board type and model", "[pi4]\n[board-type=0x11]", "pi4b", Firmware, true},
		{"HDMI port", "[HDMI:0]", "pi4b", Firmware, true},
		{"HDMI port is not known to the EEPROM", "[HDMI:0]", "pi4b", Bootloader, false},
		{"monitor", "[EDID=VSC-TD2220]", "pi4b", Firmware, false},
		{"pin", "[gpio4=0]", "pi4b", Firmware, false},
		{"tryboot", "[tryboot]", "pi4b", Firmware, false},
		{"boot variable", "[bootvar0&0x10]", "pi4b", Firmware, false},
		{"unknown word", "[pi9]", "pi4b", Firmware, false},
		{"unknown word is a model", "[pi9]\n[pi4]", "pi4b", Firmware, true},
		{"pi4b is a word of the EEPROM", "[pi4b]", "pi4b", Bootloader, true},
		{"pi4b is no word of start4.elf", "[pi4b]", "pi4b", Firmware, false},
		{"pi5 sees one program only", "[pi5]", "cm5", Bootloader, true},
		{"cm5", "[cm5]", "cm5", Firmware, true},
		{"cm5 on a pi5", "[cm5]", "pi5", Firmware, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := boards()[tt.board]
			if tt.board == "pi4b" {
				b.Serial = 0x91cdf03d
			}
			s := eval(t, tt.sections+"\nx=1\n", b, tt.stage)
			if _, got := s.Get("x"); got != tt.want {
				t.Errorf("a line after %q on a %s in stage %d in force = %v; want %v", tt.sections, tt.board, tt.stage, got, tt.want)
			}
		})
	}
}

func TestUnderstands(t *testing.T) {
	tests := []struct {
		section string
		board   string
		stage   Stage
		want    bool
	}{
		{"all", "pi4b", Bootloader, true},
		{"0xabc", "pi4b", Bootloader, true},
		{"0xzz", "pi4b", Bootloader, false},
		{"pi02", "pi4b", Firmware, true},
		{"pi02", "pi4b", Bootloader, false},
		{"pi02", "pi3b", Bootloader, true},
		{"pi4b", "pi4b", Firmware, false},
		{"gpio4=1", "pi4b", Bootloader, true},
		{"gpio", "pi4b", Bootloader, true},
		{"gpiox=1", "pi4b", Bootloader, false},
		{"EDID=a", "pi4b", Firmware, true},
		{"EDID=a", "pi4b", Bootloader, false},
		{"EDID=a", "pi5", Firmware, false},
		{"HDMI:1", "pi4b", Firmware, true},
		{"partition=2", "pi4b", Bootloader, true},
		{"boot_partition=2", "pi5", Firmware, true},
		{"boot_partition=2", "pi4b", Bootloader, false},
		{"boot_arg1=1", "pi5", Bootloader, true},
		{"bootvar0&0x10", "pi4b", Firmware, true},
		{"cust_otp3=1", "pi4b", Firmware, true},
		{"pi4=1", "pi4b", Firmware, false},
		{"", "pi4b", Firmware, false},
	}
	for _, tt := range tests {
		if got := Understands(tt.section, boards()[tt.board], tt.stage); got != tt.want {
			t.Errorf("Understands(%q, %s, %d) = %v; want %v", tt.section, tt.board, tt.stage, got, tt.want)
		}
	}
}
