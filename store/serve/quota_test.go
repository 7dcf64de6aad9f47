package serve_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/store/serve"
)

func TestQuota(t *testing.T) {
	a, mapped, b, c := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("::ffff:10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("::1")
	q := serve.NewQuota(2, 3)
	var got []bool
	for _, client := range []netip.Addr{a, mapped, a, b, c} {
		got = append(got, q.Enter(client))
	}
	q.Leave(mapped)
	got = append(got, q.Enter(c), q.Enter(a))
	if want := []bool{true, true, false, true, false, true, false}; !cmp.Equal(got, want) {
		t.Errorf("entered: %v, want %v", got, want)
	}
}
