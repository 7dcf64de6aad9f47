package gc

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"time"

	"piimg/store"
)

const (
	runFolder      = "gc/runs/"
	verdictVersion = 1
	maxVerdictLen  = 1 << 30
)

// plan is what becomes of everything.
type plan struct {
	all       *inventory
	marks     *marks
	before    map[store.Digest]int64 // condemned by earlier runs: since when
	condemned map[store.Digest]int64 // now, with those that are due
	due       []store.Digest         // in the order of their digests
	records   []store.Digest         // of images that go, or have gone
	young     Amount
	aside     []SetAside // in the order of their keys
}

// Amount is a number of blobs and how many bytes they have.
type Amount struct {
	Blobs int   `json:"blobs"`
	Bytes int64 `json:"bytes"`
}

func (a *Amount) add(bytes int64) {
	a.Blobs++
	a.Bytes += bytes
}

// plan condemns what is not marked and has come of age; what was condemned for long
// enough already is due.
func (c *collection) plan(all *inventory, m *marks, before map[store.Digest]int64) *plan {
	p := &plan{all: all, marks: m, before: before, condemned: map[store.Digest]int64{}, aside: judgeAside(all, m)}
	grown := c.now.Add(-c.Grace).Unix()
	for d, b := range all.blobs {
		if _, live := m.live[d]; live {
			continue
		}
		if b.time > grown {
			p.young.add(b.size)
			continue
		}
		since, ok := before[d]
		if !ok || since < b.time { // a blob that came back begins anew
			since = c.now.Unix()
		}
		p.condemned[d] = since
		if since <= grown {
			p.due = append(p.due, d)
		}
	}
	slices.SortFunc(p.due, store.Digest.Compare)
	p.records = dead(all, m, p.due)
	return p
}

// dead are the records of images that nothing keeps and that are due or not there.
func dead(all *inventory, m *marks, due []store.Digest) []store.Digest {
	var gone []store.Digest
	for d := range all.records {
		_, live := m.live[d]
		_, there := all.blobs[d]
		if _, isDue := slices.BinarySearchFunc(due, d, store.Digest.Compare); !live && (isDue || !there) {
			gone = append(gone, d)
		}
	}
	slices.SortFunc(gone, store.Digest.Compare)
	return gone
}

// verdict is the stored form of what is condemned.
type verdict struct {
	Version   int        `json:"v"`
	Condemned []sentence `json:"condemned"`
}

type sentence struct {
	Since int64    `json:"since"` // Unix seconds, by the clock of the store
	Blobs []string `json:"blobs"` // hexadecimal
}

func newVerdict(condemned map[store.Digest]int64) verdict {
	bySince := map[int64][]string{}
	for d, since := range condemned {
		bySince[since] = append(bySince[since], d.Hex())
	}
	v := verdict{Version: verdictVersion}
	for _, since := range slices.Sorted(maps.Keys(bySince)) {
		slices.Sort(bySince[since])
		v.Condemned = append(v.Condemned, sentence{since, bySince[since]})
	}
	return v
}

// condemn writes what is condemned, and removes what earlier runs have written.
func (c *collection) condemn(ctx context.Context, p *plan) error {
	if maps.Equal(p.before, p.condemned) && len(p.all.runs) == 1 {
		return nil
	}
	if len(p.condemned) > 0 {
		doc, err := json.Marshal(newVerdict(p.condemned))
		if err != nil {
			return err
		}
		if err := c.store.Bucket().Put(ctx, runFolder+c.me.Run+".json", store.Bytes(doc)); err != nil {
			return fmt.Errorf("condemn: %w", err)
		}
	}
	for _, info := range p.all.runs {
		if err := c.store.Bucket().Delete(ctx, info.Key); err != nil {
			return err
		}
	}
	return nil
}

// readVerdicts is what the latest of runs has condemned. One that cannot be understood
// condemns nothing, which only delays.
func readVerdicts(ctx context.Context, b store.Bucket, runs []store.Info) (map[store.Digest]int64, error) {
	if len(runs) == 0 {
		return nil, nil
	}
	last := slices.MaxFunc(runs, func(a, b store.Info) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Key, b.Key))
	})
	r, err := b.Get(ctx, last.Key, 0, -1)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", last.Key, err)
	}
	defer r.Close()
	doc, err := io.ReadAll(io.LimitReader(r, maxVerdictLen))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", last.Key, err)
	}
	var v verdict
	if err := json.Unmarshal(doc, &v); err != nil || v.Version != verdictVersion {
		return nil, nil
	}
	since := map[store.Digest]int64{}
	for _, s := range v.Condemned {
		for _, hex := range s.Blobs {
			if d, err := store.ParseHex(hex); err == nil {
				since[d] = min(s.Since, last.Time.Unix()) // not from the future
			}
		}
	}
	return since, nil
}

// ripe is when the first of what waits is due, and zero where nothing waits.
func (c *collection) ripe(p *plan) time.Time {
	first := int64(0)
	grown := c.now.Add(-c.Grace).Unix()
	for _, since := range p.condemned {
		if since > grown && (first == 0 || since < first) {
			first = since
		}
	}
	if first == 0 {
		return time.Time{}
	}
	return time.Unix(first, 0).Add(c.Grace).UTC()
}
