// Package serve makes the one decision of the front end: which bytes does this board
// get under this name. The protocol servers in tftp and web ask [Front.Open] and send
// what it answers.
//
// A board's first request opens a session, and the session fixes one image until the
// boot is over, so that a promote in the middle never mixes two images. Bytes come from
// a local folder that holds verified copies only. README.md has the rules as tables.
package serve
