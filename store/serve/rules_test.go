package serve_test

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"piimg/store/serve"
)

// TestDecide: the board's own goes before its labels, those before its network, that before
// the default.
func TestDecide(t *testing.T) {
	rules := serve.Rules{
		Rules: []serve.Rule{
			{Labels: map[string]string{"role": "kiosk", "rack": "a1"}, Target: serve.Target{Env: "kiosk-a1"}},
			{Labels: map[string]string{"role": "kiosk"}, Target: serve.Target{Env: "kiosk"}},
			{Labels: map[string]string{"state": "broken"}, Target: serve.Target{Off: true}},
			{Target: serve.Target{Env: "of-no-labels"}},
		},
		Networks: []serve.Network{
			{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Target: serve.Target{Env: "ten"}},
			{Prefix: netip.MustParsePrefix("10.1.0.0/16"), Target: serve.Target{Local: true}},
			{Prefix: netip.MustParsePrefix("10.1.2.0/24"), Secrets: true}, // says nothing of what to boot
		},
		Default: "prod",
	}
	for _, tt := range []struct {
		own    serve.Target
		labels string
		addr   string
		want   serve.Target
		why    string
	}{
		{serve.Target{Env: "own"}, "role=kiosk", "10.1.1.1", serve.Target{Env: "own"}, "own assignment"},
		{serve.Target{Off: true}, "role=kiosk", "10.1.1.1", serve.Target{Off: true}, "own assignment"},
		{serve.Target{}, "role=kiosk", "10.1.1.1", serve.Target{Env: "kiosk"}, "rule 2, labels role=kiosk"},
		{serve.Target{}, "role=kiosk rack=a1", "10.1.1.1", serve.Target{Env: "kiosk-a1"}, "rule 1, labels rack=a1 role=kiosk"},
		{serve.Target{}, "state=broken", "192.0.2.1", serve.Target{Off: true}, "rule 3"},
		{serve.Target{}, "role=desk", "10.9.1.1", serve.Target{Env: "ten"}, "network 10.0.0.0/8"},
		{serve.Target{}, "", "10.1.1.1", serve.Target{Local: true}, "network 10.1.0.0/16"},
		{serve.Target{}, "", "10.1.2.1", serve.Target{Local: true}, "network 10.1.0.0/16"},
		{serve.Target{}, "", "192.0.2.1", serve.Target{Env: "prod"}, "default"},
	} {
		labels := map[string]string{}
		for _, l := range strings.Fields(tt.labels) {
			k, v, _ := strings.Cut(l, "=")
			labels[k] = v
		}
		d := rules.Decide(serve.Assignment{Target: tt.own, Labels: labels}, netip.MustParseAddr(tt.addr))
		if d.Target != tt.want || !strings.Contains(d.Why, tt.why) {
			t.Errorf("%+v %s at %s: %+v by %q, want %+v by %q", tt.own, tt.labels, tt.addr, d.Target, d.Why, tt.want, tt.why)
		}
	}
	if d := (serve.Rules{}).Decide(serve.Assignment{}, netip.MustParseAddr("10.0.0.1")); !d.Target.IsZero() || !strings.Contains(d.Why, "no default") {
		t.Errorf("without rules: %+v", d)
	}
	for addr, want := range map[string]bool{"10.1.2.3": true, "10.1.3.1": false, "192.0.2.1": false} {
		if got := rules.Secrets(netip.MustParseAddr(addr)); got != want {
			t.Errorf("secrets to %s: %v, want %v", addr, got, want)
		}
	}
}

// listing is a fleet that names all of its boards.
type listing struct{ *fleet }

func (l listing) Boards(context.Context) (map[string]serve.Assignment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down != nil {
		return nil, l.down
	}
	return maps.Clone(l.boards), nil
}

// Boards are found by their other names and by their addresses, and what they have been
// told is known without the store, of those too that were never seen.
func TestRegistry(t *testing.T) {
	w := newWorld(t, func(c *serve.Config) { c.Fleet = listing{c.Fleet.(*fleet)} })
	w.promote("dev", "v1")
	w.promote("canary", "c1")
	w.fleet.assign("91cdf03d", serve.Assignment{
		Target: serve.Target{Env: "canary"}, Also: []string{"e4-5f-01-09-02-f7"}, Addresses: []netip.Addr{client.Addr()},
	})
	w.fleet.assign("00000009", serve.Assignment{Target: serve.Target{Env: "canary"}})
	w.refresh()
	f, err := w.open("start4.elf") // nobody was seen at that address yet
	if err != nil || f.Board != "91cdf03d" {
		t.Fatalf("by its address: %+v, %v", f, err)
	}
	f.Close()
	w.want("e4-5f-01-09-02-f7/start4.elf", "c1")
	w.want("91cdf03d/config.txt", "c1")
	if n := len(w.front.Trail("91cdf03d")); n != 1 {
		t.Errorf("%d boots, want one under three names", n)
	}

	w.fleet.goDown(errors.New("away"))
	w.restart()
	w.want("00000009/config.txt", "c1") // never seen
	w.want("0000000a/config.txt", "v1") // never heard of
}

// What the operator says of boards is replaced while the front end serves: for boots that
// begin from then on, and not by something that is wrong.
func TestReplace(t *testing.T) {
	w, _ := rack(t, func(c *serve.Config) { c.Fleet = listing{c.Fleet.(*fleet)} })
	kiosk := w.promoteFiles("kiosk", map[string]string{"config.txt": "kernel=vmlinuz\n", "vmlinuz": "kiosk", "cmdline.txt": "x"})
	w.fleet.assign("91cdf03d", serve.Assignment{Labels: map[string]string{"role": "kiosk"}, Vars: map[string]string{"site": "lobby"}})
	w.again()
	before := w.fetch("91cdf03d/initramfs.gz")
	good := serve.Policy{
		Rules: serve.Rules{
			Rules:   []serve.Rule{{Labels: map[string]string{"role": "kiosk"}, Target: serve.Target{Env: "kiosk"}}},
			Default: "dev",
		},
		Files:     []serve.OwnFile{{Path: "etc/motd", Content: "hello"}},
		Addresses: map[netip.Addr]string{netip.MustParseAddr("10.9.9.9"): "91CDF03D"},
	}
	for name, wrong := range map[string]func(*serve.Policy){
		"environment": func(p *serve.Policy) { p.Default = "Dev" },
		"file":        func(p *serve.Policy) { p.Files = []serve.OwnFile{{Path: "x", Content: "{{"}} },
		"address":     func(p *serve.Policy) { p.Addresses = map[netip.Addr]string{netip.MustParseAddr("10.9.9.9"): "x"} },
	} {
		p := good
		wrong(&p)
		if err := w.front.Replace(t.Context(), p); err == nil {
			t.Errorf("a wrong %s is taken", name)
		}
	}
	if again := w.fetch("91cdf03d/initramfs.gz"); again != before {
		t.Error("something wrong has changed what a board gets")
	}
	if err := w.front.Replace(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	if err := w.front.Ready(); err != nil {
		t.Errorf("with a new environment: %v", err)
	}
	if again := w.fetch("91cdf03d/initramfs.gz"); again != before {
		t.Error("a boot that has begun gets something else")
	}
	if got := w.fetch("0000000a/initramfs.gz"); !strings.Contains(got, "etc/motd") || strings.Contains(got, "etc/machine-id") {
		t.Error("a boot that begins now does not get the new files")
	}
	w.clock.pass(time.Hour)
	f, err := w.openFrom(netip.MustParseAddrPort("10.9.9.9:1"), "vmlinuz")
	if err != nil || f.Image != kiosk || f.Board != "91cdf03d" {
		t.Fatalf("by its new address, rule and environment: %+v, %v", f, err)
	}
	f.Close()
}
