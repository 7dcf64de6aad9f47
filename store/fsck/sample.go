package fsck

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"

	"piimg/store"
)

// Sample is how much of the content is read: Percent of the objects, drawn anew each time,
// or part Part of Of, by which Of runs read everything once. The zero value reads none.
type Sample struct {
	Percent  float64 // above 0, at most 100
	Part, Of int     // 1 ≤ Part ≤ Of
}

// All reads everything.
func All() Sample { return Sample{Percent: 100} }

// ParseSample reads "all", "5%" or "2/7".
func ParseSample(text string) (Sample, error) {
	wrong := fmt.Errorf("%q is no share of the content: say all, a percentage such as 5%%, or a part such as 1/7", text)
	if text == "all" {
		return All(), nil
	}
	if number, ok := strings.CutSuffix(text, "%"); ok {
		p, err := strconv.ParseFloat(number, 64)
		if err != nil || !(p > 0 && p <= 100) {
			return Sample{}, wrong
		}
		return Sample{Percent: p}, nil
	}
	part, of, ok := strings.Cut(text, "/")
	n, err1 := strconv.Atoi(part)
	m, err2 := strconv.Atoi(of)
	if !ok || err1 != nil || err2 != nil || n < 1 || n > m {
		return Sample{}, wrong
	}
	return Sample{Part: n, Of: m}, nil
}

// of is the sample of all.
func (s Sample) of(all []store.Blob) []store.Blob {
	if s.Of > 0 {
		var some []store.Blob
		for _, b := range all {
			// Digests are spread evenly, and stay in their part when others come and go.
			if binary.BigEndian.Uint64(b.Digest[:8])%uint64(s.Of) == uint64(s.Part-1) {
				some = append(some, b)
			}
		}
		return some
	}
	n := int(math.Ceil(float64(len(all)) * s.Percent / 100))
	if n >= len(all) {
		return all
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:n]
}
