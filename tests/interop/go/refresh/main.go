// Refreshes a token with golang.org/x/oauth2. Arguments: issuer, client id, secret, refresh token.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"golang.org/x/oauth2"
)

func main() {
	config := oauth2.Config{
		ClientID:     os.Args[2],
		ClientSecret: os.Args[3],
		Endpoint:     oauth2.Endpoint{TokenURL: os.Args[1] + "/token"},
	}
	token, err := config.TokenSource(context.Background(), &oauth2.Token{RefreshToken: os.Args[4]}).Token()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(token.AccessToken)
}
