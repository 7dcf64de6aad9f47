package recipes

import (
	"fmt"
	"slices"
	"strings"
)

// suggest is a hint for a word that is none of known: the nearest one, or all of them.
// what names them: "keys here", "boards".
func suggest(word, what string, known []string) string {
	if hint := didYouMean(word, known); hint != "" || len(known) == 0 {
		return hint
	}
	return fmt.Sprintf("known %s: %s", what, strings.Join(slices.Sorted(slices.Values(known)), ", "))
}

// suggestID is suggest for ids, of which none that is as near is likelier than another.
func suggestID(id, what string, known []string) string {
	near := nearby(id, known)
	if len(near) == 0 {
		return suggest(id, what, known)
	}
	for n, k := range near {
		near[n] = quote(k)
	}
	return "did you mean " + strings.Join(near, " or ") + "?"
}

// didYouMean is a hint with the one of known that is nearest to word, and nothing where
// none is near: one letter in three may be wrong.
func didYouMean(word string, known []string) string {
	if best := nearest(word, known); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return ""
}

func nearest(word string, known []string) string {
	for _, k := range nearby(word, known) {
		return k
	}
	return ""
}

// nearby are those of known that are nearest to word, in order.
func nearby(word string, known []string) []string {
	var best []string
	least := (len(word) + 2) / 3
	for _, k := range slices.Sorted(slices.Values(known)) {
		d := distance(strings.ToLower(word), strings.ToLower(k))
		if d < least {
			best, least = nil, d
		}
		if d == least {
			best = append(best, k)
		}
	}
	return best
}

// distance is the number of bytes to add, drop or change to get from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
