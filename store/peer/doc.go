// Package peer is a bucket that another front end shares over HTTP, to read from: [Handler]
// is the one side, [Bucket] the other. A front end in a rack fills its cache from one that
// is nearer to the store than the rack is, or that alone has keys for it.
//
//	GET, HEAD  <base>/<key>                     the object; one range
//	GET        <base>/?prefix=P&after=A         {"objects":[{"Key":…,"Size":…,"Time":…}],"more":true}
//
// Nothing is verified here: whoever reads content by its digest checks what comes, as with
// any bucket. Nobody is asked who they are, so a bucket with secrets is not for sharing.
package peer
