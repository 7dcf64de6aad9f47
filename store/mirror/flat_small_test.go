//go:build !big

package mirror_test

const largeSize = 192 << 20
