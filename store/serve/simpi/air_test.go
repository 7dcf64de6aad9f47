package simpi

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pin/tftp/v3"

	"piimg/store"
)

// badAir is a network of a board with every fault.
func badAir(share float64, delay time.Duration, seed uint64) Board {
	b := pi4b()
	b.Seed, b.Network = seed, Network{Loss: share, Duplicate: share, Reorder: share, Delay: delay}
	return b
}

// TestAir lets ten thousand packets through, one each millisecond: a share of them gets lost, a
// share of the others comes twice, and one comes after those that were sent behind it, the
// same ones each time.
func TestAir(t *testing.T) {
	const packets, share, delay = 10_000, 0.1, 500 * time.Microsecond
	type seen struct{ lost, twice, late int }
	pass := func(seed uint64) (s seen) {
		a := newAir(badAir(share, delay, seed))
		var coming arrivals
		start := time.Unix(0, 0)
		times, highest := make([]int, packets), -1
		take := func(now time.Time) {
			for {
				p, ok := coming.due(now)
				if !ok {
					return
				}
				n := int(p.data[0])<<8 | int(p.data[1])
				if times[n]++; n < highest && times[n] == 1 {
					s.late++
				}
				highest = max(highest, n)
				if sent := start.Add(time.Duration(n) * time.Millisecond); now.Sub(sent) < delay {
					t.Errorf("packet %d is there after %s", n, now.Sub(sent))
				}
			}
		}
		buf := make([]byte, 2) // is used again, as that of a socket
		for n := range packets {
			now := start.Add(time.Duration(n) * time.Millisecond)
			take(now)
			buf[0], buf[1] = byte(n>>8), byte(n)
			coming.put(a, now, buf, netip.AddrPort{})
		}
		take(start.Add(time.Hour))
		for _, n := range times {
			switch n {
			case 0:
				s.lost++
			case 2:
				s.twice++
			}
		}
		return s
	}
	got := pass(1)
	about := func(what string, n int, want float64) {
		if f := float64(n); f < 0.9*want || f > 1.1*want {
			t.Errorf("%d packets %s, want about %.0f", n, what, want)
		}
	}
	about("got lost", got.lost, packets*share)
	about("came twice", got.twice, packets*(1-share)*share)
	about("came late", got.late, packets*(1-share)*share)
	if again := pass(1); again != got {
		t.Errorf("the same seed gives %+v and %+v", got, again)
	}
	if other := pass(2); other == got {
		t.Error("another seed gives the same")
	}
	if newAir(pi4b()) != nil {
		t.Error("a network without faults is none")
	}
}

// TestBootThroughBadAir boots over a network that loses, doubles and delays a tenth of the
// packets in each direction: every file is whole, and the report counts what it took.
func TestBootThroughBadAir(t *testing.T) {
	files := map[string][]byte{
		"config.txt": []byte("arm_64bit=1\n"), "cmdline.txt": []byte("console=tty1\n"), "start4.elf": fill("start", 20_000),
		"fixup4.dat": fill("fixup", 5_000), "bcm2711-rpi-4-b.dtb": fill("dtb", 20_000), "kernel8.img": fill("kernel", 40_000),
	}
	s := newTFTP(t, under("91cdf03d/", files), func(s *tftp.Server) {
		s.SetTimeout(50 * time.Millisecond)
		s.SetRetries(50)
		s.SetBackoff(func(int) time.Duration { return 0 })
	})
	b := badAir(0.1, 200*time.Microsecond, 3)
	b.ResendEvery = 30 * time.Millisecond
	r := boot(t, b, s.addr(), Options{})
	if r.Outcome != Started {
		t.Fatalf("%s; problems:\n%s", r.Outcome, problems(r))
	}
	want := map[string]store.Digest{}
	for name, data := range files {
		want[name] = store.Sum(data)
	}
	if diff := cmp.Diff(want, r.Files()); diff != "" {
		t.Errorf("files (-image +board):\n%s", diff)
	}
	resends, duplicates := 0, 0
	for _, req := range r.Requests {
		resends, duplicates = resends+req.Resends, duplicates+req.Duplicates
	}
	if resends == 0 || duplicates == 0 {
		t.Errorf("the board has sent %d packets again, and got %d twice", resends, duplicates)
	}
}
