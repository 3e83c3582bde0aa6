// Checks tokens with the Go libraries. Arguments: issuer, audience, algorithm, tokens.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/golang-jwt/jwt/v5"
)

func golangJWT(issuer, audience, algorithm, token string) error {
	keys, err := keyfunc.NewDefault([]string{issuer + "/.well-known/jwks.json"})
	if err != nil {
		return err
	}
	parser := jwt.NewParser(jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithExpirationRequired(),
		jwt.WithValidMethods([]string{algorithm}))
	_, err = parser.Parse(token, keys.Keyfunc)
	return err
}

func goOIDC(issuer, audience, algorithm, token string) error {
	provider, err := oidc.NewProvider(context.Background(), issuer)
	if err != nil {
		return err
	}
	_, err = provider.Verifier(&oidc.Config{ClientID: audience, SupportedSigningAlgs: []string{algorithm}}).
		Verify(context.Background(), token)
	return err
}

// The algorithms are those of the metadata.
func goOIDCDefaults(issuer, audience, _, token string) error {
	provider, err := oidc.NewProvider(context.Background(), issuer)
	if err != nil {
		return err
	}
	_, err = provider.Verifier(&oidc.Config{ClientID: audience}).Verify(context.Background(), token)
	return err
}

func main() {
	libraries := []struct {
		name   string
		verify func(issuer, audience, algorithm, token string) error
	}{
		{"golang-jwt + keyfunc", golangJWT},
		{"go-oidc", goOIDC},
		{"go-oidc, issuer's metadata", goOIDCDefaults},
	}
	for _, library := range libraries {
		for nth, token := range os.Args[4:] {
			result := "accepted"
			if err := library.verify(os.Args[1], os.Args[2], os.Args[3], token); err != nil {
				result = err.Error()
			}
			fmt.Printf("%s\t%d\t%s\n", library.name, nth, result)
		}
	}
}
