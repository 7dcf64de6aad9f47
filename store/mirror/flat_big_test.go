//go:build big

package mirror_test

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

const largeSize = 4 << 30

// TestMain checks what the operating system says of the whole process too.
func TestMain(m *testing.M) {
	code := m.Run()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		panic(err)
	}
	println("the process had at most", kib>>10, "MiB in memory")
	if kib > 256<<10 {
		println("more than 256 MiB")
		code = 1
	}
	os.Exit(code)
}
